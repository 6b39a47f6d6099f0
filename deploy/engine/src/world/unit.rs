//! One simulated unit: what it does as time passes.

use super::Behaviour;
use crate::{
    check::{Answer, Health},
    model::{Exit, Millis, UnitFacts, UnitId, UnitPhase},
};

/// One simulated unit.
#[derive(Debug, Clone)]
pub(super) struct WorldUnit {
    pub(super) behaviour: Behaviour,
    pub(super) started_at: Millis,
    pub(super) weight: u16,
    /// Told to stop: ends at this moment.
    pub(super) ends_at: Option<Millis>,
    /// What the executor knows of its health; it is lost with the executor.
    pub(super) health: Health,
    /// What an observer knows of its health; it is never lost.
    pub(super) witness: Health,
    pub(super) next_probe: Millis,
    pub(super) requests: u64,
    pub(super) errors: u64,
}

impl WorldUnit {
    pub(super) fn has_exited(&self, now: Millis) -> bool {
        match self.behaviour {
            Behaviour::ExitsAfter(after)
            | Behaviour::KilledAfter(after)
            | Behaviour::OutOfMemoryAfter(after) => now >= self.started_at + after,
            _ => false,
        }
    }

    pub(super) fn answer(&self, now: Millis) -> Answer {
        let age = now.saturating_sub(self.started_at);
        match self.behaviour {
            Behaviour::Good(after) if age < after => Answer::Refused,
            Behaviour::NeverReady => Answer::Status(503),
            Behaviour::Hangs => Answer::TimedOut,
            Behaviour::Flaps(period) if (age / period.max(1)) % 2 == 1 => Answer::Status(503),
            Behaviour::WrongRelease => Answer::WrongRelease("another".to_owned()),
            Behaviour::WrongPort => Answer::Refused,
            Behaviour::Unprobeable => Answer::ProviderError("simulated".to_owned()),
            _ => Answer::Pass,
        }
    }

    /// Asks it, if it is time.
    pub(super) fn probe(&mut self, now: Millis, interval: Millis) {
        if now < self.next_probe || self.ends_at.is_some() || self.has_exited(now) {
            return;
        }
        self.next_probe = now + interval;
        let answer = self.answer(now);
        self.hear(now, &answer);
    }

    /// Takes an answer over into what is known of its health.
    pub(super) fn hear(&mut self, now: Millis, answer: &Answer) {
        self.health = std::mem::take(&mut self.health).with(now, answer.clone());
        self.witness = std::mem::take(&mut self.witness).with(now, answer.clone());
    }

    pub(super) fn serve(&mut self, requests: u64) {
        if self.weight > 0 {
            let before = self.requests;
            self.requests += requests;
            if let Behaviour::FailsRequests(percent) = self.behaviour {
                self.errors += self.requests * percent / 100 - before * percent / 100;
            }
        }
    }

    pub(super) fn facts(&self, id: &UnitId, now: Millis) -> UnitFacts {
        let out_of_memory = matches!(self.behaviour, Behaviour::OutOfMemoryAfter(_));
        let by_signal = out_of_memory || matches!(self.behaviour, Behaviour::KilledAfter(_));
        let phase = match (self.has_exited(now), self.ends_at) {
            (true, _) => UnitPhase::Exited(Exit {
                code: (!by_signal).then_some(1),
                signal: by_signal.then_some(9),
                out_of_memory,
                at: now,
            }),
            (false, Some(_)) => UnitPhase::Stopping,
            (false, None) => UnitPhase::Running,
        };
        let wrong_port = self.behaviour == Behaviour::WrongPort;
        UnitFacts {
            unit: id.clone(),
            phase,
            address: None,
            other_ports: if wrong_port { vec![9] } else { Vec::new() },
            handle: id.label(),
            release: "simulated".to_owned(),
            weight: self.weight,
            in_flight: 0,
            traffic: crate::model::Traffic {
                requests: self.requests,
                errors: self.errors,
                ..crate::model::Traffic::default()
            },
            started_at: self.started_at,
        }
    }
}

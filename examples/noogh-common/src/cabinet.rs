//! The ministers of Noogh: who sits in the cabinet, and who answers which question. A toy, and the same in every run.

/// Everyone who can sit in the cabinet.
const MINISTERS: [Minister; 5] = [
    Minister {
        name: "education",
        portfolio: "Schools and universities",
        words: &["school", "teach", "learn", "stud"],
    },
    Minister {
        name: "health",
        portfolio: "Hospitals and prevention",
        words: &["health", "doctor", "ill", "hospital"],
    },
    Minister { name: "finance", portfolio: "Budget and taxes", words: &["tax", "budget", "money", "cost"] },
    Minister {
        name: "security",
        portfolio: "Safety of people and systems",
        words: &["secur", "attack", "safe"],
    },
    Minister {
        name: "development",
        portfolio: "Building and deploying",
        words: &["build", "deploy", "code", "release"],
    },
];

/// One minister.
#[derive(Debug, PartialEq, Eq, serde::Serialize)]
pub struct Minister {
    /// The name to ask for.
    pub name: &'static str,
    /// What the minister is responsible for.
    pub portfolio: &'static str,
    /// Beginnings of words that make a question this minister's.
    #[serde(skip)]
    words: &'static [&'static str],
}

/// Those who sit, in the order of precedence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cabinet(Vec<&'static Minister>);

impl Default for Cabinet {
    fn default() -> Self {
        Self(MINISTERS.iter().collect())
    }
}

impl Cabinet {
    /// A cabinet of these names, separated by commas.
    ///
    /// # Errors
    /// A name that nobody bears, or that stands there twice.
    pub fn seat(names: &str) -> Result<Self, String> {
        let mut seated = Vec::new();
        for name in names.split(',').map(str::trim) {
            let minister = MINISTERS.iter().find(|minister| minister.name == name).ok_or_else(|| {
                let known: Vec<_> = MINISTERS.iter().map(|minister| minister.name).collect();
                format!("there is no minister `{name}`; known ministers: {}", known.join(", "))
            })?;
            if seated.contains(&minister) {
                return Err(format!("minister `{name}` stands there twice"));
            }
            seated.push(minister);
        }
        Ok(Self(seated))
    }

    /// Those who sit.
    pub fn ministers(&self) -> &[&'static Minister] {
        &self.0
    }

    /// The minister of that name.
    pub fn find(&self, name: &str) -> Option<&'static Minister> {
        self.0.iter().copied().find(|minister| minister.name == name)
    }

    /// The minister with the most words in the question; the first of equals, `None` if nobody has any.
    pub fn responsible(&self, question: &str) -> Option<&'static Minister> {
        let question = question.to_lowercase();
        let words: Vec<&str> = question.split(|c: char| !c.is_alphanumeric()).collect();
        let score = |minister: &Minister| {
            words.iter().filter(|word| minister.words.iter().any(|start| word.starts_with(start))).count()
        };
        // `max_by_key` takes the last of equals; seen from behind, that is the first.
        self.0
            .iter()
            .copied()
            .rev()
            .max_by_key(|minister| score(minister))
            .filter(|minister| score(minister) > 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_minister_with_the_most_words_answers() {
        let cabinet = Cabinet::default();
        let name = |question| cabinet.responsible(question).map(|minister| minister.name);
        assert_eq!(name("How do I deploy the code?"), Some("development"));
        assert_eq!(name("What does a DOCTOR cost, and is the budget safe?"), Some("finance"));
        assert_eq!(name("school or hospital"), Some("education"));
        assert_eq!(name("will it rain"), None);
        assert_eq!(name(""), None);
    }

    #[test]
    fn only_those_who_sit_answer() {
        let cabinet = Cabinet::seat("health, education").unwrap();
        assert_eq!(cabinet.responsible("school or hospital").map(|m| m.name), Some("health"));
        assert_eq!(cabinet.find("finance"), None);
        assert!(Cabinet::seat("magic").unwrap_err().contains("known ministers: education, health"));
        assert!(Cabinet::seat("health,health").unwrap_err().contains("twice"));
    }
}

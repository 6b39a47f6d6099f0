//! Requests to the engine, each with its deadline and with the name of what it was about.

use crate::{
    error::{Cause, EngineError},
    place::{Kind, Place, label},
};
use bollard::{
    BollardRequest, Docker,
    container::LogOutput,
    models::{
        ContainerCreateBody, ContainerInspectResponse, ContainerStatsResponse, ContainerSummary, Volume,
        VolumeCreateRequest,
    },
    query_parameters::{
        CreateContainerOptionsBuilder, KillContainerOptionsBuilder, ListContainersOptionsBuilder,
        ListVolumesOptionsBuilder, LogsOptionsBuilder, RemoveContainerOptionsBuilder, RemoveVolumeOptions,
        StatsOptionsBuilder, UploadToContainerOptionsBuilder, WaitContainerOptionsBuilder,
    },
};
use bytes::Bytes;
use futures::{
    StreamExt, TryStreamExt,
    future::ready,
    stream::{BoxStream, iter, once},
};
use pipeline::crossing;
use std::{collections::HashMap, future::Future, time::Duration};
use tokio::time::timeout;
use zeroize::Zeroizing;

/// The longest wait for what an engine does by itself. A container's start on a busy machine has been seen to take ten
/// seconds; three times that is not patience any more.
const DEADLINE: Duration = Duration::from_secs(30);

/// The longest wait for what the engine takes in, byte by byte: config files and secrets are small.
const UPLOAD_DEADLINE: Duration = Duration::from_secs(60);

/// A line of a log that is longer is shown in parts, in bytes.
const LINE_MAX: usize = 64 * 1024;

/// Between two looks at a container that is being removed by somebody else.
const LOOK_EVERY: Duration = Duration::from_millis(50);

pub(crate) type Result<T> = std::result::Result<T, EngineError>;

/// One engine.
#[derive(Debug, Clone)]
pub(crate) struct Engine {
    docker: Docker,
}

/// Waits for an answer of the engine, at most as long as it may take.
pub(crate) async fn within<T>(
    deadline: Duration,
    operation: &'static str,
    subject: &str,
    answer: impl Future<Output = std::result::Result<T, bollard::errors::Error>>,
) -> Result<T> {
    let cause = match timeout(deadline, answer).await {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(error)) => Cause::from(error),
        Err(_) => Cause::Deadline(deadline),
    };
    Err(EngineError { operation, subject: subject.to_owned(), cause })
}

/// Nothing, where something is missing.
pub(crate) fn if_there<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.is_missing() => Ok(None),
        Err(error) => Err(error),
    }
}

impl Engine {
    pub(crate) fn new(docker: Docker) -> Self {
        Self { docker: docker.with_request_modifier(spell_credentials) }
    }

    pub(crate) fn docker(&self) -> &Docker {
        &self.docker
    }

    /// All volumes of a kind.
    pub(crate) async fn volumes(&self, place: &Place, kind: Kind) -> Result<Vec<Volume>> {
        let options = ListVolumesOptionsBuilder::default().filters(&place.filter(kind)).build();
        let list = self.docker.list_volumes(Some(options));
        let list = within(DEADLINE, "list the volumes of target", place.target.as_str(), list).await?;
        Ok(list.volumes.unwrap_or_default())
    }

    /// Makes a volume, unless there is one of that name: then that one is returned.
    pub(crate) async fn make_volume(&self, name: &str, labels: HashMap<String, String>) -> Result<Volume> {
        let request = VolumeCreateRequest {
            name: Some(name.to_owned()),
            labels: Some(labels),
            ..VolumeCreateRequest::default()
        };
        crossing!("engine.make-volume.before");
        let made = within(DEADLINE, "make the volume", name, self.docker.create_volume(request)).await;
        crossing!("engine.make-volume.after");
        made
    }

    /// A volume, if there is one of that name.
    pub(crate) async fn volume(&self, name: &str) -> Result<Option<Volume>> {
        if_there(within(DEADLINE, "look at the volume", name, self.docker.inspect_volume(name)).await)
    }

    /// Removes a volume; one that is not there is removed.
    pub(crate) async fn remove_volume(&self, name: &str) -> Result<()> {
        let removed = self.docker.remove_volume(name, None::<RemoveVolumeOptions>);
        crossing!("engine.remove-volume.before");
        let removed = within(DEADLINE, "remove the volume", name, removed).await;
        crossing!("engine.remove-volume.after");
        if_there(removed).map(drop)
    }

    /// All containers of a kind, whatever their state.
    pub(crate) async fn containers(&self, place: &Place, kind: Kind) -> Result<Vec<ContainerSummary>> {
        let options = ListContainersOptionsBuilder::default().all(true).filters(&place.filter(kind)).build();
        let list = self.docker.list_containers(Some(options));
        within(DEADLINE, "list the containers of target", place.target.as_str(), list).await
    }

    /// Makes a container and returns its id. A name that is taken is a conflict.
    pub(crate) async fn make_container(&self, name: &str, body: ContainerCreateBody) -> Result<String> {
        let options = CreateContainerOptionsBuilder::default().name(name).build();
        let made = self.docker.create_container(Some(options), body);
        crossing!("engine.make-container.before");
        let made = within(DEADLINE, "make the container", name, made).await;
        crossing!("engine.make-container.after");
        Ok(made?.id)
    }

    pub(crate) async fn start_container(&self, name: &str) -> Result<()> {
        crossing!("engine.start-container.before");
        let started =
            within(DEADLINE, "start the container", name, self.docker.start_container(name, None)).await;
        crossing!("engine.start-container.after");
        started
    }

    /// A container by name or id, if there is one.
    pub(crate) async fn container(&self, name: &str) -> Result<Option<ContainerInspectResponse>> {
        let look = self.docker.inspect_container(name, None);
        if_there(within(DEADLINE, "look at the container", name, look).await)
    }

    /// Sends a signal; a container that does not run (any more) has had it.
    pub(crate) async fn signal(&self, name: &str, signal: &str) -> Result<()> {
        let options = KillContainerOptionsBuilder::default().signal(signal).build();
        let sent = self.docker.kill_container(name, Some(options));
        crossing!("engine.signal.before");
        let sent = within(DEADLINE, "signal the container", name, sent).await;
        crossing!("engine.signal.after");
        match sent {
            Err(error) if error.is_missing() || error.is_conflict() => Ok(()),
            sent => sent,
        }
    }

    /// Waits until a container does not run, at most this long; says whether it has ended.
    pub(crate) async fn ended(&self, name: &str, longest: Duration) -> Result<bool> {
        let options = WaitContainerOptionsBuilder::default().condition("not-running").build();
        let mut ends = std::pin::pin!(self.docker.wait_container(name, Some(options)));
        match timeout(longest, ends.next()).await {
            Err(_) => Ok(false),
            // An exit code that is not 0 comes as this error.
            Ok(Some(Ok(_) | Err(bollard::errors::Error::DockerContainerWaitError { .. }))) => Ok(true),
            Ok(Some(Err(error))) => {
                let error = EngineError {
                    operation: "wait for the container",
                    subject: name.to_owned(),
                    cause: error.into(),
                };
                if error.is_missing() { Ok(true) } else { Err(error) }
            }
            Ok(None) => Ok(self.container(name).await?.is_none_or(|it| !is_running(&it))),
        }
    }

    /// Removes a container with all that only it used; one that is not there is removed. Returns when it is gone.
    pub(crate) async fn remove_container(&self, name: &str) -> Result<()> {
        let options = RemoveContainerOptionsBuilder::default().force(true).v(true).build();
        let removed = self.docker.remove_container(name, Some(options));
        crossing!("engine.remove-container.before");
        let removed = within(DEADLINE, "remove the container", name, removed).await;
        crossing!("engine.remove-container.after");
        match removed {
            Err(error) if error.is_missing() => Ok(()),
            // Somebody else is just doing it.
            Err(error) if error.is_conflict() => {
                let gone = async {
                    while self.container(name).await.is_ok_and(|it| it.is_some()) {
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                };
                timeout(DEADLINE, gone).await.map_err(|_| error)
            }
            removed => removed,
        }
    }

    /// Puts a tar, which is wiped when it was sent, into a folder of a container, which need not run.
    pub(crate) async fn upload(&self, container: &str, folder: &str, tar: Zeroizing<Vec<u8>>) -> Result<()> {
        let options = UploadToContainerOptionsBuilder::default().path(folder).build();
        let body = bollard::body_full(Bytes::from_owner(tar));
        let put = self.docker.upload_to_container(container, Some(options), body);
        crossing!("engine.upload.before");
        let put = within(UPLOAD_DEADLINE, "put files into", container, put).await;
        crossing!("engine.upload.after");
        put
    }

    /// A file or folder of a container as a tar, if it is there. The container need not run.
    pub(crate) async fn download(&self, container: &str, path: &str) -> Result<Option<Vec<u8>>> {
        let options =
            bollard::query_parameters::DownloadFromContainerOptionsBuilder::default().path(path).build();
        let stream = self.docker.download_from_container(container, Some(options));
        let all = stream.try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        });
        if_there(within(UPLOAD_DEADLINE, "read a file of", container, all).await)
    }

    /// The last lines of what a container wrote, oldest first, if there is one.
    pub(crate) async fn log_tail(&self, name: &str, lines: usize) -> Result<Option<Vec<String>>> {
        let tail = lines.to_string();
        let options = LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&tail).build();
        let stream = self.docker.logs(name, Some(options));
        let all = stream.map_ok(LogOutput::into_bytes).try_fold(Vec::new(), |mut all, chunk| async move {
            all.extend_from_slice(&chunk);
            Ok(all)
        });
        let Some(bytes) = if_there(within(DEADLINE, "read the log of", name, all).await)? else {
            return Ok(None);
        };
        let text = String::from_utf8_lossy(&bytes);
        let all: Vec<String> = text.lines().map(str::to_owned).collect();
        // What had no end of a line has been counted together with what follows.
        Ok(Some(all[all.len().saturating_sub(lines)..].to_vec()))
    }

    /// The last lines of a container's log, and if it is followed those that come, until it ends. What cannot be read (any
    /// more) is the end.
    pub(crate) fn log_lines(&self, name: &str, last: usize, follow: bool) -> BoxStream<'static, String> {
        let tail = if last == usize::MAX { "all".to_owned() } else { last.to_string() };
        let options =
            LogsOptionsBuilder::default().stdout(true).stderr(true).tail(&tail).follow(follow).build();
        let (docker, name) = (self.docker.clone(), name.to_owned());
        let chunks = docker.logs(&name, Some(options));
        let chunks = chunks.take_while(|chunk| ready(chunk.is_ok())).filter_map(|chunk| ready(chunk.ok()));
        // Its end is a chunk of its own: the last line may have none.
        let chunks = chunks.map(|chunk| Some(chunk.into_bytes())).chain(once(ready(None)));
        let lines = chunks.scan(Vec::new(), |open: &mut Vec<u8>, chunk| {
            let is_last = chunk.is_none();
            open.extend_from_slice(&chunk.unwrap_or_default());
            ready(Some(iter(whole_lines(open, is_last))))
        });
        lines.flatten().boxed()
    }

    /// What a container uses, if it runs.
    pub(crate) async fn stats(&self, name: &str) -> Result<Option<ContainerStatsResponse>> {
        let options = StatsOptionsBuilder::default().stream(false).one_shot(true).build();
        let mut stats = std::pin::pin!(self.docker.stats(name, Some(options)));
        let next = async { stats.next().await.transpose() };
        Ok(if_there(within(DEADLINE, "measure", name, next).await)?.flatten())
    }
}

/// Credentials travel in a header, in the alphabet that is safe in addresses; the client takes the other one, and an engine
/// takes what it cannot read for no credentials at all.
fn spell_credentials(mut request: BollardRequest) -> BollardRequest {
    if let Some(value) = request.headers_mut().get_mut("x-registry-auth") {
        let spelled = value.to_str().ok().map(|text| text.replace('+', "-").replace('/', "_").parse());
        if let Some(Ok(spelled)) = spelled {
            *value = spelled;
            value.set_sensitive(true);
        }
    }
    request
}

/// Whether its first process runs.
pub(crate) fn is_running(container: &ContainerInspectResponse) -> bool {
    container.state.as_ref().and_then(|state| state.running).unwrap_or(false)
}

/// A label of ours.
pub(crate) fn label_of<'a>(labels: Option<&'a HashMap<String, String>>, name: &str) -> Option<&'a str> {
    labels?.get(&label(name)).map(String::as_str)
}

/// Takes what is whole out of what was read so far: up to the last line's end, or all if nothing more comes, or if what is
/// open is longer than a line may be.
fn whole_lines(read: &mut Vec<u8>, is_last: bool) -> Vec<String> {
    let end = read.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let end = if is_last || read.len() - end > LINE_MAX { read.len() } else { end };
    let whole: Vec<u8> = read.drain(..end).collect();
    String::from_utf8_lossy(&whole).lines().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::{LINE_MAX, whole_lines};

    #[test]
    fn lines_are_shown_whole_but_the_last_and_endless_ones() {
        let mut read = b"one\ntwo\nthr".to_vec();
        assert_eq!(whole_lines(&mut read, false), ["one", "two"]);
        read.extend_from_slice(b"ee\n\nfo");
        assert_eq!(whole_lines(&mut read, false), ["three", ""]);
        assert_eq!(whole_lines(&mut read, true), ["fo"]);
        // Many lines at once are no long one.
        read = [b"a line\n".repeat(LINE_MAX), b"open".to_vec()].concat();
        assert_eq!(whole_lines(&mut read, false).len(), LINE_MAX);
        assert_eq!(read, b"open");
        read = vec![b'x'; LINE_MAX + 1];
        assert_eq!(whole_lines(&mut read, false).len(), 1);
        assert!(read.is_empty());
    }
}

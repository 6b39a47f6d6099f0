//! The context of a BuildKit build, given as the engine asks for it on the session: it is told of all entries, asks for
//! the files that it needs, and gets them piece by piece.
//!
//! Given as the body of the request instead, the engine writes the whole context down once more before it unpacks it, and
//! hashes it; and a Dockerfile that copies one file needs all the others nevertheless.
//!
//! **Invariant.** What the engine was given in an earlier build is never taken for what is there now because its size and
//! time are the same: each build gives its context under a name of its own. With times that are capped at the commit's,
//! two versions of a file would look alike.
//!
//! **Invariant.** A file that changes while it is sent ends the build, as with the body of a request.

use super::upload::PIECES;
use bollard::{
    fsutil::types::{Packet, Stat, packet::PacketType},
    moby::filesync::packet::file_sync_server::FileSync,
};
use futures::stream::{self, BoxStream, StreamExt};
use pipeline::image::{
    context::{Context, ContextError, Times},
    file::{BUFFER, ContextFile, is_same, mode},
};
use std::{
    fs::{self, Metadata},
    os::unix::fs::FileTypeExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};
use tokio::sync::{mpsc, watch};
use tokio_util::task::AbortOnDropHandle;
use tonic::{Response, Status, Streaming, metadata::MetadataMap};

/// The bits by which modes say what something is, as the protocol has them: those of Go's `fs.FileMode`.
mod kind {
    pub(super) const FOLDER: u32 = 1 << 31;
    pub(super) const LINK: u32 = 1 << 27;
    pub(super) const PIPE: u32 = 1 << 25;
    pub(super) const SET_USER: u32 = 1 << 23;
    pub(super) const SET_GROUP: u32 = 1 << 22;
    pub(super) const STICKY: u32 = 1 << 20;
}

/// The folders that the engine may ask for: the context, and where the Dockerfile is, which here is the context as well.
const FOLDERS: [&str; 2] = [CONTEXT, "dockerfile"];
const CONTEXT: &str = "context";

/// The API from which on the engine is known to give folders their times after it has filled them. 20.10, with 1.41, does
/// not, so that an image with a folder of the context in it would differ each time; 28, with 1.51, does; of those between
/// it is not known, and they are taken for the older.
const FOLDERS_KEEP_TIMES: (u32, u32) = (1, 51);

/// What a build is given, and how far that is.
pub(super) struct Giver {
    context: Arc<Context>,
    times: Times,
    /// Bytes of files that the engine has taken so far.
    given: Arc<watch::Sender<u64>>,
    failure: Arc<Failure>,
}

/// Why the context could not be given, told by whoever gives it to whoever waits for the build.
#[derive(Debug, Default)]
pub(super) struct Failure(Mutex<Option<ContextError>>);

impl Failure {
    fn set(&self, error: ContextError) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
    }

    /// The first there was.
    pub(super) fn take(&self) -> Option<ContextError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl Giver {
    /// Gives this context. How many bytes the engine has taken, and why it could not have more, is told by what comes back.
    pub(super) fn new(context: Context, times: Times) -> (Self, watch::Receiver<u64>, Arc<Failure>) {
        let (given, taken) = watch::channel(0);
        let failure = Arc::<Failure>::default();
        let giver =
            Self { context: Arc::new(context), times, given: Arc::new(given), failure: failure.clone() };
        (giver, taken, failure)
    }

    /// Whether an engine that speaks this API gets by this all that it would get as the body: the protocol knows text alone,
    /// so that every name and every link must be that; and where times are asked for, see [`FOLDERS_KEEP_TIMES`].
    ///
    /// # Errors
    /// If the context cannot be looked through.
    pub(super) fn can_give(context: &Context, times: Times, api: (u32, u32)) -> Result<bool, ContextError> {
        let keeps_times = times == Times::AS_ON_DISK || api >= FOLDERS_KEEP_TIMES;
        let mut can = true;
        context.visit(&|_| true, &mut |path, metadata| {
            can &= path.to_str().is_some();
            can &= keeps_times || path.parent().is_none_or(|folder| folder == Path::new(""));
            if metadata.is_symlink() {
                let target = fs::read_link(context.root().join(path));
                can &= target.map_err(|error| ContextError::read(path, error))?.to_str().is_some();
            }
            Ok(())
        })?;
        Ok(can)
    }
}

#[tonic::async_trait]
impl FileSync for Giver {
    type DiffCopyStream = BoxStream<'static, Result<Packet, Status>>;
    type TarStreamStream = BoxStream<'static, Result<Packet, Status>>;

    async fn diff_copy(
        &self,
        request: tonic::Request<Streaming<Packet>>,
    ) -> Result<Response<Self::DiffCopyStream>, Status> {
        let wanted = Wanted::of(request.metadata(), &self.context)?;
        let (packets, giving) = mpsc::channel(PIECES);
        let (asked, asking) = mpsc::unbounded_channel();
        let talk = Talk {
            context: self.context.clone(),
            times: self.times,
            given: self.given.clone(),
            packets,
            files: Vec::new(),
        };
        let failure = self.failure.clone();
        tokio::task::spawn_blocking(move || {
            let out = talk.packets.clone();
            if let Err(error) = talk.give(&wanted, asking) {
                let status = Status::aborted(error.to_string());
                if !matches!(error, ContextError::Write(_)) {
                    failure.set(error);
                }
                // Nobody may be there to hear it any more.
                drop(out.blocking_send(Err(status)));
            }
        });
        let mut requests = request.into_inner();
        let hearing = AbortOnDropHandle::new(tokio::spawn(async move {
            while let Some(Ok(packet)) = requests.next().await {
                if asked.send(packet).is_err() {
                    break;
                }
            }
        }));
        let packets = stream::unfold((giving, hearing), |(mut giving, hearing)| async move {
            giving.recv().await.map(|packet| (packet, (giving, hearing)))
        });
        Ok(Response::new(packets.boxed()))
    }

    async fn tar_stream(
        &self,
        _: tonic::Request<Streaming<Packet>>,
    ) -> Result<Response<Self::TarStreamStream>, Status> {
        Err(Status::unimplemented("contexts are given entry by entry"))
    }
}

/// What the engine wants to have of the context.
#[derive(Debug, PartialEq, Eq)]
enum Wanted {
    /// All of it, but what is there for the builder alone.
    Context,
    /// All of it.
    All,
    /// These paths and what is below them.
    Paths(Vec<PathBuf>),
}

impl Wanted {
    /// As the engine says. More than it asks for is never wrong, so what would have to be worked out is not.
    fn of(asked: &MetadataMap, context: &Context) -> Result<Self, Status> {
        let texts = |name: &'static str| {
            asked.get_all(name).iter().map(|text| text.to_str().unwrap_or("*").to_owned()).collect::<Vec<_>>()
        };
        let folder = texts("dir-name").concat();
        if !FOLDERS.contains(&folder.as_str()) {
            return Err(Status::not_found(format!("there is no folder `{folder}` in this build")));
        }
        let paths = [texts("followpaths"), texts("include-patterns")].concat();
        let is_encoded = asked.keys().any(|key| match key {
            tonic::metadata::KeyRef::Ascii(key) => key.as_str().ends_with("-encoded"),
            tonic::metadata::KeyRef::Binary(_) => false,
        });
        let is_plain = |path: &String| is_plain(context, path.trim_start_matches('/'));
        if paths.is_empty() || is_encoded || !paths.iter().all(is_plain) {
            return Ok(if folder == CONTEXT { Self::Context } else { Self::All });
        }
        Ok(Self::Paths(paths.iter().map(|path| PathBuf::from(path.trim_start_matches('/'))).collect()))
    }

    fn has(&self, path: &Path) -> bool {
        match self {
            Self::Context | Self::All => true,
            Self::Paths(paths) => {
                paths.iter().any(|wanted| path.starts_with(wanted) || wanted.starts_with(path))
            }
        }
    }
}

/// Whether a path means what it says: no pattern, nothing to work out, no link on the way or at its end.
fn is_plain(context: &Context, path: &str) -> bool {
    let parts = || path.split('/');
    let is_word = |part: &str| !["", ".", ".."].contains(&part) && !part.contains(['*', '?', '[', '\\', '!']);
    let is_link = |end: usize| {
        let path: PathBuf = parts().take(end).collect();
        fs::symlink_metadata(context.root().join(path)).is_ok_and(|metadata| metadata.is_symlink())
    };
    parts().all(is_word) && !(1..=parts().count()).any(is_link)
}

/// One time that the context is given.
struct Talk {
    context: Arc<Context>,
    times: Times,
    given: Arc<watch::Sender<u64>>,
    packets: mpsc::Sender<Result<Packet, Status>>,
    /// By the number that the engine asks for it by: the files among the entries.
    files: Vec<Option<(PathBuf, Metadata)>>,
}

impl Talk {
    /// Tells of all that is wanted, and gives what is asked for, until the engine has all. Blocks.
    fn give(
        mut self,
        wanted: &Wanted,
        mut asking: mpsc::UnboundedReceiver<Packet>,
    ) -> Result<(), ContextError> {
        let context = self.context.clone();
        let mut told = PathBuf::new();
        context.visit(&|path| wanted.has(path), &mut |path, metadata| {
            if *wanted == Wanted::Context && context.rules().is_kept_for_the_builder(path) {
                return Ok(());
            }
            // An excluded folder with something in it that is not must be told of first.
            for folder in above(path).filter(|folder| !told.starts_with(folder)) {
                let absolute = context.root().join(folder);
                let metadata =
                    fs::symlink_metadata(absolute).map_err(|error| ContextError::read(folder, error))?;
                self.tell(folder, &metadata)?;
            }
            path.clone_into(&mut told);
            self.tell(path, metadata)
        })?;
        self.send(PacketType::PacketStat, Packet::default())?;
        let mut buffer = vec![0; BUFFER];
        while let Some(packet) = asking.blocking_recv() {
            match packet.r#type() {
                PacketType::PacketReq => self.file(packet.id, &mut buffer)?,
                PacketType::PacketFin => return self.send(PacketType::PacketFin, Packet::default()),
                // What the engine has to say it says in the build's own answer.
                PacketType::PacketErr => return Ok(()),
                PacketType::PacketStat | PacketType::PacketData => {}
            }
        }
        Ok(())
    }

    fn tell(&mut self, path: &Path, metadata: &Metadata) -> Result<(), ContextError> {
        let Some(stat) = self.stat(path, metadata)? else { return Ok(()) };
        self.files.push(metadata.is_file().then(|| (path.to_owned(), metadata.clone())));
        self.send(PacketType::PacketStat, Packet { stat: Some(stat), ..Packet::default() })
    }

    /// What is told of an entry; nothing of a socket, which no builder takes.
    fn stat(&self, path: &Path, metadata: &Metadata) -> Result<Option<Stat>, ContextError> {
        let what = metadata.file_type();
        let mut linkname = String::new();
        let bits = if what.is_file() {
            0
        } else if what.is_dir() {
            kind::FOLDER
        } else if what.is_symlink() {
            let target = fs::read_link(self.context.root().join(path));
            let target = target.map_err(|error| ContextError::read(path, error))?;
            linkname = target.to_string_lossy().into_owned();
            kind::LINK
        } else if what.is_fifo() {
            kind::PIPE
        } else if what.is_socket() {
            return Ok(None);
        } else {
            return Err(ContextError::Device { path: path.to_owned() });
        };
        let permissions = mode(metadata);
        let special = [(0o4000, kind::SET_USER), (0o2000, kind::SET_GROUP), (0o1000, kind::STICKY)];
        let special = special.iter().filter(|(bit, _)| permissions & bit != 0).map(|(_, kind)| kind);
        Ok(Some(Stat {
            path: path.to_string_lossy().into_owned(),
            mode: special.fold(permissions & 0o777 | bits, |mode, kind| mode | kind),
            size: if what.is_file() { metadata.len().cast_signed() } else { 0 },
            mod_time: self
                .times
                .of(metadata)
                .saturating_mul(1_000_000_000)
                .min(i64::MAX as u64)
                .cast_signed(),
            linkname,
            ..Stat::default()
        }))
    }

    fn file(&self, id: u32, buffer: &mut [u8]) -> Result<(), ContextError> {
        let Some((path, metadata)) = self.files.get(id as usize).and_then(Option::as_ref) else {
            return Ok(());
        };
        let file = ContextFile::open(path, &self.context.root().join(path))?;
        if !is_same(file.metadata(), metadata) {
            return Err(ContextError::Changed { path: path.clone() });
        }
        let data = |bytes: &[u8]| Packet { id, data: bytes.to_vec(), ..Packet::default() };
        file.read(buffer, |bytes| {
            self.send(PacketType::PacketData, data(bytes))?;
            self.given.send_modify(|given| *given += bytes.len() as u64);
            Ok(())
        })?;
        self.send(PacketType::PacketData, data(&[]))
    }

    fn send(&self, kind: PacketType, packet: Packet) -> Result<(), ContextError> {
        let packet = Packet { r#type: kind.into(), ..packet };
        let gone = |_| ContextError::Write(std::io::ErrorKind::BrokenPipe.into());
        self.packets.blocking_send(Ok(packet)).map_err(gone)
    }
}

/// The folders above a path, the outermost first.
fn above(path: &Path) -> impl Iterator<Item = &Path> {
    let mut folders: Vec<&Path> = path.ancestors().skip(1).filter(|path| *path != Path::new("")).collect();
    folders.reverse();
    folders.into_iter()
}

//! An image of one static program and nothing else, for a service that has no Dockerfile.
//!
//! Nothing has to be built for it: its one layer and its configuration are written here, and loaded as `docker save`
//! would have saved them. So the same program, labels and time give the same id on every engine, which a builder gives
//! only where it is new enough.

use super::{
    BuildError, BuildEvent, BuildFailure, BuiltImage, DEFAULT_DEADLINE, ImageName, elf, upload::Upload,
};
use super::{listen, story::Story};
use crate::Connection;
use bollard::{body_try_stream, query_parameters::ImportImageOptions};
use pipeline::{digest::Digest, secret::Redactor};
use serde_json::json;
use sha2::{Digest as _, Sha256};
use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufWriter, Read, Write},
    path::{Path, PathBuf},
    time::Duration,
};
use tar::{EntryType, Header};
use tokio::time::timeout;

/// How much of the program is in memory at a time, in bytes.
const BUFFER: usize = 128 * 1024;

/// A tar is in blocks of this many bytes, and ends with two that are empty.
const BLOCK: u64 = 512;

/// Where the program is in the image, whatever it is called outside: so the image depends on its bytes alone.
pub const BINARY_PATH: &str = "/service";

/// As whom it runs: no user of the machine, so that a way out of the container leads to nothing.
pub const BINARY_USER: &str = "1000:1000";

/// An image that is to be made of one static program.
#[derive(Debug, Clone)]
pub struct BinaryImage {
    /// The program.
    pub binary: PathBuf,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// What the image is called.
    pub names: Vec<ImageName>,
    /// `SOURCE_DATE_EPOCH`, in seconds since 1970: when the image and its file say that they were made. 1970 by default,
    /// for the file's own time is that of a build and would make another image of the same program.
    pub source_date_epoch: u64,
    /// The longest that all of it may take.
    pub deadline: Duration,
}

impl BinaryImage {
    /// Of this program, without labels or names.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        Self {
            binary: binary.into(),
            labels: BTreeMap::new(),
            names: Vec::new(),
            source_date_epoch: 0,
            deadline: DEFAULT_DEADLINE,
        }
    }
}

impl Connection {
    /// Makes an image of one static program. Dropping the future stops it.
    ///
    /// # Errors
    /// If the program is linked dynamically, is none or cannot be read, or if the engine does not take the image.
    pub async fn image_of_binary(
        &self,
        request: &BinaryImage,
        mut tell: impl FnMut(BuildEvent) + Send,
    ) -> Result<BuiltImage, BuildError> {
        let mut story = Story::new(Redactor::default(), &mut tell);
        let limit = request.deadline;
        let result = timeout(limit, self.load(request, &mut story)).await;
        let result = result.unwrap_or(Err(BuildFailure::Deadline { limit }));
        result.map_err(|kind| BuildError::before(&request.binary, kind))
    }

    async fn load(&self, request: &BinaryImage, story: &mut Story<'_>) -> Result<BuiltImage, BuildFailure> {
        let described = request.clone();
        let describing = tokio::task::spawn_blocking(move || Image::describe(&described));
        let image = describing.await.expect("describing a program does not panic")?;
        let id = Digest::of_bytes(&image.config).to_string();
        let binary = request.binary.clone();
        let (mut upload, body) = Upload::begin(move |pipe| image.save(&binary, pipe));
        let docker = self.patient(request.deadline);
        let answers = docker.import_image(ImportImageOptions::default(), body_try_stream(body), None);
        // An engine that keeps images in another form calls them by another id, and says so.
        let mut loaded = None;
        let heard = listen(answers, &mut upload.sent, story, |info, _| {
            let said = info.stream.unwrap_or_default();
            loaded = said.trim().strip_prefix("Loaded image ID: ").map(str::to_owned).or(loaded.take());
        })
        .await;
        if let Some(Err(error)) = upload.outcome().await
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            return Err(elf::ElfError::Read { path: request.binary.clone(), source: error }.into());
        }
        heard.map_err(|error| self.failure(error, &request.binary, story))?;
        self.named(loaded.as_deref().unwrap_or(&id), &request.names, &request.binary).await
    }
}

/// What an image is, but for the bytes of the program.
struct Image {
    config: Vec<u8>,
    /// The entry of the program in the layer.
    entry: Header,
    epoch: u64,
}

impl Image {
    /// Reads the program once, for the digest of the layer.
    fn describe(request: &BinaryImage) -> Result<Self, BuildFailure> {
        let architecture = elf::architecture_of_static(&request.binary)?;
        let read = |source| elf::ElfError::Read { path: request.binary.clone(), source };
        let size = File::open(&request.binary).and_then(|file| file.metadata()).map_err(read)?.len();
        let entry = header(BINARY_PATH, size, 0o755, request.source_date_epoch).map_err(read)?;
        let mut layer = Hashing(Sha256::new());
        write_layer(&entry, &request.binary, &mut layer).map_err(read)?;
        let layer = Digest::from_bytes(layer.0.finalize().into());
        let created = i64::try_from(request.source_date_epoch).ok();
        let created = created.and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
        let created = created.unwrap_or(jiff::Timestamp::MAX).to_string();
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "created": created,
            "config": {
                "User": BINARY_USER,
                "Entrypoint": [BINARY_PATH],
                "WorkingDir": "/",
                "Labels": request.labels,
            },
            "rootfs": { "type": "layers", "diff_ids": [layer] },
            "history": [{ "created": created, "created_by": format!("COPY program {BINARY_PATH}") }],
        });
        Ok(Self { config: config.to_string().into_bytes(), entry, epoch: request.source_date_epoch })
    }

    /// Writes what `docker load` takes.
    fn save(&self, binary: &Path, receiver: impl Write) -> io::Result<()> {
        let config = format!("{}.json", Digest::of_bytes(&self.config).hex());
        let manifest = json!([{ "Config": config, "RepoTags": [], "Layers": ["layer.tar"] }]).to_string();
        let mut receiver = BufWriter::with_capacity(BUFFER, receiver);
        for (name, content) in [("manifest.json", manifest.as_bytes()), (&config, &self.config)] {
            receiver.write_all(header(name, content.len() as u64, 0o644, self.epoch)?.as_bytes())?;
            receiver.write_all(content)?;
            pad(&mut receiver, content.len() as u64)?;
        }
        let layer = BLOCK + self.entry.size()?.next_multiple_of(BLOCK) + 2 * BLOCK;
        receiver.write_all(header("layer.tar", layer, 0o644, self.epoch)?.as_bytes())?;
        write_layer(&self.entry, binary, &mut receiver)?;
        receiver.write_all(&[0; 2 * BLOCK as usize])?;
        receiver.flush()
    }
}

fn header(path: &str, size: u64, mode: u32, epoch: u64) -> io::Result<Header> {
    let mut header = Header::new_ustar();
    header.set_path(path.trim_start_matches('/'))?;
    header.set_entry_type(EntryType::Regular);
    header.set_size(size);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(epoch);
    header.set_cksum();
    Ok(header)
}

/// The tar of the one layer. A program that is not as long as it was is an error; one that has other bytes is found out by
/// the engine, which compares the digest.
fn write_layer(entry: &Header, binary: &Path, mut receiver: impl Write) -> io::Result<()> {
    let size = entry.size()?;
    receiver.write_all(entry.as_bytes())?;
    let mut program = File::open(binary)?.take(size + 1);
    let mut buffer = vec![0; BUFFER];
    let mut written = 0;
    loop {
        match program.read(&mut buffer)? {
            0 => break,
            read => {
                written += read as u64;
                receiver.write_all(&buffer[..read])?;
            }
        }
    }
    if written != size {
        return Err(io::Error::other("it was changed while it was read: make the image again"));
    }
    pad(&mut receiver, size)?;
    receiver.write_all(&[0; 2 * BLOCK as usize])
}

fn pad(mut receiver: impl Write, size: u64) -> io::Result<()> {
    let missing = size.next_multiple_of(BLOCK) - size;
    receiver.write_all(&[0; BLOCK as usize][..missing as usize])
}

struct Hashing(Sha256);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

//! Files of a host, by SFTP: read whole, and written so that they are there whole or not at all.

use super::{Failure, Host, HostError, WAIT};
use openssh_sftp_client::{
    Error, Sftp, SftpOptions,
    error::SftpErrorKind,
    metadata::{MetaDataBuilder, Permissions},
};
use std::{
    hash::{BuildHasher, RandomState},
    path::{Path, PathBuf},
    time::Duration,
};

/// The largest file that is read, in bytes: what we keep on a host is small, and a log is asked for by its end.
pub const FILE_MAX: u64 = 16 << 20;

/// What is asked for at a time, in bytes: what every server of the protocol must be able to give.
const PIECE: u32 = 32 * 1024;

/// Who may do what with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// The owner reads and writes: 0600.
    Private,
    /// The owner writes, all read: 0644.
    Shared,
    /// The owner writes, all read and run: 0755.
    Program,
}

impl Mode {
    fn permissions(self) -> Permissions {
        let bits = match self {
            Self::Private => 0o600,
            Self::Shared => 0o644,
            Self::Program => 0o755,
        };
        Permissions::from(bits)
    }
}

impl Host {
    /// Writes a file: under another name beside it, to the disk, and only then in its place. Whoever reads it, or comes after a
    /// crash, sees the old one or the new one. It never had another mode than the owner's alone before it had its own.
    /// `limit` is the longest that it may take: how large it is, and how slow the way, only the caller knows.
    ///
    /// # Errors
    /// The folder is not there or may not be written to, the disk is full, its time is over or the connection was lost: then the old one may
    /// be there, or the new one, and beside it what begins with its name, a dot and `new-`.
    pub async fn put(
        &self,
        path: &Path,
        content: &[u8],
        mode: Mode,
        limit: Duration,
    ) -> Result<(), HostError> {
        self.within(limit, "writing a file", self.put_all(path, content, mode)).await
    }

    async fn put_all(&self, path: &Path, content: &[u8], mode: Mode) -> Result<(), Failure> {
        let sftp = self.sftp().await?;
        for (what, is_there) in [
            ("fsync@openssh.com", sftp.support_fsync()),
            ("posix-rename@openssh.com", sftp.support_posix_rename()),
        ] {
            if !is_there {
                return Err(Failure::NoExtension { what });
            }
        }
        let beside = beside(path);
        let written = write(sftp, &beside, content, mode).await;
        let renamed = match written {
            Ok(()) => sftp.fs().rename(&beside, path).await,
            Err(error) => Err(error),
        };
        if let Err(source) = renamed {
            // If that fails as well, it is the connection, and whoever looks again finds it.
            drop(sftp.fs().remove_file(&beside).await);
            return Err(self.file(path, source));
        }
        Ok(())
    }

    /// Reads a file; `None` if there is none.
    ///
    /// # Errors
    /// It may not be read, is larger than [`FILE_MAX`], the host does not answer for [`WAIT`], or the connection was lost.
    pub async fn get(&self, path: &Path) -> Result<Option<Vec<u8>>, HostError> {
        let getting = async {
            let sftp = self.sftp().await?;
            let mut file = match sftp.open(path).await {
                Ok(file) => file,
                Err(Error::SftpError(SftpErrorKind::NoSuchFile, _)) => return Ok(None),
                Err(source) => return Err(self.file(path, source)),
            };
            let mut content = Vec::new();
            loop {
                let piece = file.read(PIECE, Default::default()).await;
                let Some(piece) = piece.map_err(|source| self.file(path, source))? else { break };
                content.extend_from_slice(&piece);
                if content.len() as u64 > FILE_MAX {
                    return Err(Failure::TooLarge { path: path.to_owned(), max: FILE_MAX });
                }
            }
            file.close().await.map_err(|source| self.file(path, source))?;
            Ok(Some(content))
        };
        self.within(WAIT, "reading a file", getting).await
    }

    /// Makes a folder for the owner alone (0700), and those above it that are not there. That it is there is no error.
    ///
    /// # Errors
    /// It may not be made, the host does not answer for [`WAIT`], or the connection was lost.
    pub async fn make_folder(&self, path: &Path) -> Result<(), HostError> {
        let making = async {
            let sftp = self.sftp().await?;
            let mut above: Vec<&Path> =
                path.ancestors().filter(|path| path.parent().is_some() && *path != Path::new("")).collect();
            above.reverse();
            for folder in above {
                let mut fs = sftp.fs();
                let mut builder = fs.dir_builder();
                builder.permissions(Permissions::from(0o700));
                if let Err(source) = builder.create(folder).await {
                    // The protocol has no word for what is there already.
                    let is_there = sftp
                        .fs()
                        .metadata(folder)
                        .await
                        .is_ok_and(|found| found.file_type().is_some_and(|kind| kind.is_dir()));
                    if !is_there {
                        return Err(self.file(folder, source));
                    }
                }
            }
            Ok(())
        };
        self.within(WAIT, "making a folder", making).await
    }

    /// Removes a file. That there is none is no error.
    ///
    /// # Errors
    /// It may not be removed, the host does not answer for [`WAIT`], or the connection was lost.
    pub async fn remove(&self, path: &Path) -> Result<(), HostError> {
        let removing = async {
            match self.sftp().await?.fs().remove_file(path).await {
                Ok(()) | Err(Error::SftpError(SftpErrorKind::NoSuchFile, _)) => Ok(()),
                Err(source) => Err(self.file(path, source)),
            }
        };
        self.within(WAIT, "removing a file", removing).await
    }

    async fn sftp(&self) -> Result<&Sftp, Failure> {
        let open = || Sftp::from_clonable_session(self.session.clone(), SftpOptions::default());
        self.files.get_or_try_init(open).await.map_err(|error| match self.is_lost() {
            true => Failure::Lost,
            false => Failure::Client { said: format!("its server offers no SFTP: {error}") },
        })
    }

    fn file(&self, path: &Path, source: Error) -> Failure {
        match source {
            _ if self.is_lost() => Failure::Lost,
            source => Failure::File { path: path.to_owned(), source },
        }
    }
}

/// A name beside this path that nobody has.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".new-{:016x}", RandomState::new().hash_one(path)));
    path.with_file_name(name)
}

async fn write(sftp: &Sftp, path: &Path, content: &[u8], mode: Mode) -> Result<(), Error> {
    let mut file = sftp.options().write(true).create_new(true).open(path).await?;
    // Before there is anything in it.
    file.set_permissions(Mode::Private.permissions()).await?;
    file.write_all(content).await?;
    if mode != Mode::Private {
        let metadata = MetaDataBuilder::new().permissions(mode.permissions()).create();
        file.set_metadata(metadata).await?;
    }
    file.sync_all().await?;
    file.close().await
}

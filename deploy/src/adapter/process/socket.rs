//! Unix sockets whose path may be longer than the kernel allows, and JSON documents, one a line, over them.

use serde::{Serialize, de::DeserializeOwned};
use std::{fs::File, io, os::fd::AsRawFd, path::Path, path::PathBuf};
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

/// The longest line, in bytes: many times what a hundred units need; it bounds what a broken peer can make us hold.
const LINE_MAX: u64 = 16 * 1024 * 1024;

/// The control socket's file name.
pub(crate) const CONTROL: &str = "control.sock";

/// Binds a socket in a folder. Only the folder's owner can reach it if the folder says so.
pub(crate) fn bind(folder: &Path, name: &str) -> io::Result<UnixListener> {
    let (path, _folder) = short_path(folder, name)?;
    UnixListener::bind(path)
}

/// Connects to a socket in a folder.
pub(crate) async fn connect(folder: &Path, name: &str) -> io::Result<UnixStream> {
    let (path, _folder) = short_path(folder, name)?;
    UnixStream::connect(path).await
}

/// A path to a file of the folder that is short however deep the folder is, valid as long as the returned file is
/// open: a socket's path may have 107 bytes only.
fn short_path(folder: &Path, name: &str) -> io::Result<(PathBuf, File)> {
    let open = File::open(folder)?;
    let path = if cfg!(target_os = "linux") {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", open.as_raw_fd()))
    } else {
        folder.join(name)
    };
    Ok((path, open))
}

/// Reads the next line; `None` when the other side has closed.
pub(crate) async fn read_line(reader: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader.take(LINE_MAX).read_until(b'\n', &mut line).await?;
    match line.last() {
        None => Ok(None),
        Some(b'\n') => Ok(Some(line)),
        Some(_) => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the line was cut off or is too long")),
    }
}

/// Reads the next document; `None` when the other side has closed.
pub(crate) async fn read_document<T: DeserializeOwned>(
    reader: &mut (impl AsyncBufRead + Unpin),
) -> io::Result<Option<T>> {
    let Some(line) = read_line(reader).await? else { return Ok(None) };
    Ok(Some(serde_json::from_slice(&line)?))
}

/// Writes a document as one line.
pub(crate) async fn write_document(
    writer: &mut (impl AsyncWrite + Unpin),
    document: &impl Serialize,
) -> io::Result<()> {
    let mut line = serde_json::to_vec(document)?;
    line.push(b'\n');
    writer.write_all(&line).await?;
    writer.flush().await
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::BufReader;

    #[tokio::test]
    async fn works_below_a_path_of_any_length() {
        let root = tempfile::tempdir().expect("a temporary folder");
        let folder = (0..10).fold(root.path().to_owned(), |path, _| path.join("a-rather-long-folder-name"));
        std::fs::create_dir_all(&folder).expect("a deep folder");
        assert!(folder.join(CONTROL).as_os_str().len() > 108);

        let listener = bind(&folder, CONTROL).expect("it binds");
        let client = async {
            let mut stream = connect(&folder, CONTROL).await.expect("it connects");
            write_document(&mut stream, &"hello").await.expect("it writes");
        };
        let server = async {
            let (stream, _) = listener.accept().await.expect("it accepts");
            let mut reader = BufReader::new(stream);
            let first: Option<String> = read_document(&mut reader).await.expect("it reads");
            assert_eq!(first.as_deref(), Some("hello"));
            assert_eq!(read_document::<String>(&mut reader).await.expect("a clean end"), None);
        };
        tokio::join!(client, server);
    }

    #[tokio::test]
    async fn a_cut_line_is_an_error_not_an_end() {
        let mut reader = BufReader::new(&b"\"hel"[..]);
        assert!(read_document::<String>(&mut reader).await.is_err());
    }
}

//! Requests in a folder beside the rollout record: one file each, gone as soon as it was taken.

use super::store::{is_hidden, names_in};
use crate::port::{Request, Requests};
use async_trait::async_trait;
use pipeline::store::{self, FileError, Format};
use std::{fs, io, path::PathBuf};
use tokio::task::spawn_blocking;

const FORMAT: Format = Format { what: "request", version: Request::FORMAT };

/// How the name of a request's file ends.
const SUFFIX: &str = ".json";

/// The requests of one environment. Cheap to clone.
#[derive(Debug, Clone)]
pub struct FileRequests {
    folder: PathBuf,
}

impl FileRequests {
    /// The requests in this folder. Touches nothing: the folder is created by the first request.
    pub(super) fn open(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// The file of a request. An id may come from a damaged file, so nothing in it may lead out of the folder.
    fn path(&self, id: &str) -> PathBuf {
        let plain = |c: char| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' };
        let id: String = id.chars().map(plain).take(80).collect();
        self.folder.join(format!("{id}{SUFFIX}"))
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let requests = self.clone();
        let done = spawn_blocking(move || work(&requests)).await;
        done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
    }

    fn list(&self) -> io::Result<Vec<(String, Option<Request>)>> {
        let mut names = names_in(&self.folder)?;
        names.retain(|name| !is_hidden(name));
        names.sort_unstable();
        let request = |name: std::ffi::OsString| {
            let id = name.to_str()?.strip_suffix(SUFFIX)?.to_owned();
            let request: Option<Request> = store::read_json(&self.folder.join(name), FORMAT).ok();
            // A file that was given another name is not what was left.
            let request = request.filter(|request| request.id == id);
            Some((id, request))
        };
        Ok(names.into_iter().filter_map(request).collect())
    }
}

#[async_trait]
impl Requests for FileRequests {
    async fn leave(&self, request: &Request) -> io::Result<()> {
        let request = request.clone();
        let leave = move |this: &Self| {
            store::create_folder(&this.folder)?;
            store::write_json(&this.path(&request.id), &request, store::PRIVATE)
        };
        self.blocking(leave).await
    }

    async fn is_left(&self, id: &str) -> io::Result<bool> {
        let path = self.path(id);
        self.blocking(move |_| path.try_exists().map_err(|error| FileError::wrap("read", &path, error))).await
    }

    async fn remove(&self, id: &str) -> io::Result<bool> {
        let path = self.path(id);
        let remove = move |_: &Self| match fs::remove_file(&path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(FileError::wrap("remove", &path, error)),
        };
        self.blocking(remove).await
    }

    async fn all(&self) -> io::Result<Vec<(String, Option<Request>)>> {
        self.blocking(Self::list).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::Command;
    use std::os::unix::fs::PermissionsExt as _;

    fn request(id: &str) -> Request {
        Request {
            version: Request::FORMAT,
            id: id.to_owned(),
            run: "run".to_owned(),
            generation: 7,
            command: Command::Cancel,
            actor: "ann@laptop".to_owned(),
        }
    }

    #[tokio::test]
    async fn what_is_left_is_found_in_order_until_it_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let requests = FileRequests::open(folder.path().join("requests"));
        assert_eq!(requests.all().await.unwrap(), []);
        for id in ["20-b", "10-a"] {
            requests.leave(&request(id)).await.unwrap();
        }
        let ids: Vec<String> = requests.all().await.unwrap().into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, ["10-a", "20-b"]);
        assert!(requests.remove("10-a").await.unwrap());
        assert!(!requests.remove("10-a").await.unwrap(), "it was removed before");
        assert!(!requests.is_left("10-a").await.unwrap());
        assert!(requests.is_left("20-b").await.unwrap());
        assert_eq!(requests.all().await.unwrap(), [("20-b".to_owned(), Some(request("20-b")))]);
    }

    #[tokio::test]
    async fn only_its_owner_can_read_a_request() {
        let folder = tempfile::tempdir().unwrap();
        let requests = FileRequests::open(folder.path().to_owned());
        requests.leave(&request("1")).await.unwrap();
        let mode = fs::metadata(folder.path().join("1.json")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, store::PRIVATE);
    }

    #[tokio::test]
    async fn what_cannot_be_read_is_named_and_leads_nowhere() {
        let folder = tempfile::tempdir().unwrap();
        let requests = FileRequests::open(folder.path().join("requests"));
        requests.leave(&request("1")).await.unwrap();
        fs::write(folder.path().join("requests/2.json"), "{").unwrap();
        fs::copy(folder.path().join("requests/1.json"), folder.path().join("requests/3.json")).unwrap();
        let all = requests.all().await.unwrap();
        assert_eq!(all[1..], [("2".to_owned(), None), ("3".to_owned(), None)]);
        fs::write(folder.path().join("victim.json"), "").unwrap();
        assert!(!requests.remove("../victim").await.unwrap());
        assert!(folder.path().join("victim.json").exists());
    }
}

//! The real Trivy, and databases of vulnerabilities for it: small ones with what a test wants to be found, in the real format
//! (Trivy's schema 2 in a file of bbolt), so that no test waits for the internet or breaks with the news.

use crate::Project;
use jiff::{SignedDuration, Timestamp};
use serde_json::json;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};
use tempfile::TempDir;

/// The version that the tests have.
pub const TRIVY_VERSION: &str = "0.59.1";

/// The scanner with a cache of its own.
#[derive(Debug)]
pub struct Trivy {
    program: PathBuf,
    cache: TempDir,
}

/// A vulnerability that the database knows.
#[derive(Debug, Clone, Copy)]
pub struct Advisory {
    /// The distribution as Trivy calls it: `alpine 3.19`.
    pub distribution: &'static str,
    /// The source package.
    pub package: &'static str,
    /// Its name: `CVE-2023-42363`.
    pub id: &'static str,
    /// The version that has it no more.
    pub fixed: &'static str,
    /// `HIGH`.
    pub severity: &'static str,
}

impl Trivy {
    /// The program, fetched if it is not there, without any database.
    ///
    /// # Panics
    /// If it cannot be had, with what the script says.
    #[track_caller]
    pub fn new() -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("components/trivy");
        let output = Command::new(script).arg("install").stdin(Stdio::null()).output().expect("a script");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let program = PathBuf::from(String::from_utf8(output.stdout).expect("a path").trim_end());
        Self { program, cache: tempfile::tempdir().expect("a folder") }
    }

    /// Gives it a database that knows these, was made so many hours ago, and is not to be renewed yet.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn knows(&self, advisories: &[Advisory], hours: i64) {
        let folder = self.cache.path().join("db");
        fs::create_dir_all(&folder).expect("a folder");
        fs::write(folder.join("trivy.db"), bbolt(&contents(advisories))).expect("a file");
        let now = Timestamp::now();
        let made = now - SignedDuration::from_hours(hours);
        let metadata = json!({
            "Version": 2,
            "UpdatedAt": made.to_string(),
            "NextUpdate": (now + SignedDuration::from_hours(24)).to_string(),
            "DownloadedAt": now.to_string(),
        });
        fs::write(folder.join("metadata.json"), metadata.to_string()).expect("a file");
    }

    /// Takes its database away.
    ///
    /// # Panics
    /// If it has none.
    pub fn knows_nothing(&self) {
        fs::remove_dir_all(self.cache.path().join("db")).expect("a database");
    }

    /// The folder that has `trivy`.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// Where it keeps its database.
    pub fn cache(&self) -> &Path {
        self.cache.path()
    }

    /// Puts it where a project's runs find it, before all else.
    pub fn install_for(&self, project: &mut Project) {
        let path = std::env::var("PATH").expect("tests have a PATH");
        project.set_variable("PATH", format!("{}:{path}", self.program.display()));
        project.set_variable("TRIVY_CACHE_DIR", self.cache.path());
    }
}

impl Default for Trivy {
    fn default() -> Self {
        Self::new()
    }
}

/// A bucket of a bbolt file: what stands under a key is a value or another bucket.
type Bucket = BTreeMap<Vec<u8>, Entry>;

enum Entry {
    Value(Vec<u8>),
    Bucket(Bucket),
}

fn contents(advisories: &[Advisory]) -> Bucket {
    let mut root = Bucket::new();
    for one in advisories {
        let value = |value: serde_json::Value| Entry::Value(value.to_string().into_bytes());
        let fixed = value(json!({ "FixedVersion": one.fixed }));
        below(below(&mut root, one.distribution), one.package).insert(one.id.into(), fixed);
        let title = format!("{}: a weakness for tests", one.package);
        let detail = json!({ "Title": title, "Description": title, "Severity": one.severity });
        below(&mut root, "vulnerability").insert(one.id.into(), value(detail));
        let family = one.distribution.split(' ').next().unwrap_or_default();
        let source = json!({ "ID": family, "Name": family, "URL": "https://example.org/" });
        below(&mut root, "data-source").insert(one.distribution.into(), value(source));
    }
    root
}

fn below<'a>(bucket: &'a mut Bucket, key: &str) -> &'a mut Bucket {
    let entry = bucket.entry(key.into()).or_insert_with(|| Entry::Bucket(Bucket::new()));
    match entry {
        Entry::Bucket(below) => below,
        Entry::Value(_) => panic!("{key} is a value"),
    }
}

const PAGE: usize = 4096;

/// A file of bbolt (version 2): two pages that say where everything is, an empty list of free pages, and a leaf for each bucket.
fn bbolt(root: &Bucket) -> Vec<u8> {
    const FREE: u64 = 2;
    let mut pages = Pages { bytes: vec![0; 3 * PAGE] };
    let root = pages.leaf(root);
    let end = (pages.bytes.len() / PAGE) as u64;
    for transaction in 0..2 {
        let mut meta = Vec::new();
        for word in [0xED0C_DAED_u32, 2, PAGE as u32, 0] {
            meta.extend(word.to_le_bytes());
        }
        for word in [root, 0, FREE, end, transaction] {
            meta.extend(word.to_le_bytes());
        }
        let checksum = fnv1a(&meta);
        meta.extend(checksum.to_le_bytes());
        pages.header(transaction, 0x04, 0, 0);
        let start = transaction as usize * PAGE + 16;
        pages.bytes[start..start + meta.len()].copy_from_slice(&meta);
    }
    pages.header(FREE, 0x10, 0, 0);
    pages.bytes
}

struct Pages {
    bytes: Vec<u8>,
}

impl Pages {
    /// Writes a bucket with all below it, and says on which page it begins.
    fn leaf(&mut self, bucket: &Bucket) -> u64 {
        let entries: Vec<(u32, &[u8], Vec<u8>)> = bucket
            .iter()
            .map(|(key, entry)| match entry {
                Entry::Value(value) => (0, key.as_slice(), value.clone()),
                Entry::Bucket(below) => {
                    let page = self.leaf(below);
                    (1, key.as_slice(), [page.to_le_bytes(), 0_u64.to_le_bytes()].concat())
                }
            })
            .collect();
        let (mut elements, mut data) = (Vec::new(), Vec::new());
        for (index, (flags, key, value)) in entries.iter().enumerate() {
            // From this element to its key.
            let position = (entries.len() - index) * 16 + data.len();
            for word in [*flags, position as u32, key.len() as u32, value.len() as u32] {
                elements.extend(word.to_le_bytes());
            }
            data.extend_from_slice(key);
            data.extend_from_slice(value);
        }
        let page = self.bytes.len() / PAGE;
        let length = (16 + elements.len() + data.len()).next_multiple_of(PAGE);
        self.bytes.resize(self.bytes.len() + length, 0);
        self.header(page as u64, 0x02, entries.len() as u16, (length / PAGE - 1) as u32);
        let body = [elements, data].concat();
        let start = page * PAGE + 16;
        self.bytes[start..start + body.len()].copy_from_slice(&body);
        page as u64
    }

    fn header(&mut self, page: u64, flags: u16, count: u16, overflow: u32) {
        let header =
            [&page.to_le_bytes()[..], &flags.to_le_bytes(), &count.to_le_bytes(), &overflow.to_le_bytes()];
        let start = page as usize * PAGE;
        self.bytes[start..start + 16].copy_from_slice(&header.concat());
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

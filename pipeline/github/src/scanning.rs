//! Code scanning: what scanners have found, as SARIF.

use crate::client::{Client, What};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use flate2::{Compression, write::GzEncoder};
use pipeline::github::Trouble;
use serde_json::json;
use std::io::Write as _;

const WHAT: What<'static> =
    What { doing: "findings for code scanning", permission: "security-events: write" };

/// What was found in a commit.
#[derive(Debug, Clone, Copy)]
pub struct Sarif<'a> {
    /// The whole hash of the commit.
    pub commit: &'a str,
    /// The branch, tag or pull request: `refs/heads/main`.
    pub reference: &'a str,
    /// The document.
    pub document: &'a [u8],
}

impl Client {
    /// Hands it over. To do it again replaces it.
    ///
    /// # Errors
    /// See [`Trouble`].
    pub async fn sarif(&self, wanted: &Sarif<'_>) -> Result<(), Trouble> {
        let packed = pack(wanted.document).map_err(|error| Trouble::Invalid {
            doing: WHAT.doing.to_owned(),
            message: error.to_string(),
            errors: Vec::new(),
        })?;
        let body = json!({
            "commit_sha": wanted.commit,
            "ref": wanted.reference,
            "sarif": packed,
            "tool_name": "fairlead",
        });
        self.post(WHAT, "/code-scanning/sarifs", &body).await.map(drop)
    }
}

fn pack(document: &[u8]) -> std::io::Result<String> {
    let mut packer = GzEncoder::new(Vec::new(), Compression::default());
    packer.write_all(document)?;
    Ok(STANDARD.encode(packer.finish()?))
}

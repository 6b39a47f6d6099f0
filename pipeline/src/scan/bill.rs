//! Bills of materials: what an image is made of, in CycloneDX.

use serde::Deserialize;
use serde_json::Value;

/// A scanner's answer without the secrets that it found. What is not JSON stays as it is.
pub fn without_secrets(answer: &[u8]) -> Vec<u8> {
    let Ok(mut answer) = serde_json::from_slice::<Value>(answer) else { return answer.to_vec() };
    if let Some(results) = answer.get_mut("Results").and_then(Value::as_array_mut) {
        results.retain(|result| result.get("Class").and_then(Value::as_str) != Some("secret"));
    }
    answer.to_string().into_bytes()
}

/// Whether a text is a bill of materials.
///
/// # Errors
/// Why not.
pub fn check(text: &[u8]) -> Result<(), String> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Header {
        bom_format: String,
        spec_version: String,
    }
    let header: Header = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if header.bom_format != "CycloneDX" || header.spec_version.is_empty() {
        return Err(format!("its format is `{}`", header.bom_format));
    }
    Ok(())
}

//! Logins as engines want them, in a header.

use base64::{Engine, engine::general_purpose::URL_SAFE};
use http::HeaderValue;
use registry::{Credentials, Host, Login};
use zeroize::Zeroizing;

/// What Docker's own registry is called where logins are kept.
const HUB: &str = "https://index.docker.io/v1/";

/// A login as JSON; written by hand, so that no copy of the password is left behind that nobody wipes.
pub(crate) fn json(login: &Login, server: &str) -> Zeroizing<String> {
    let text = |bytes: &[u8]| Zeroizing::new(String::from_utf8_lossy(bytes).into_owned());
    Zeroizing::new(match &login.credentials {
        Credentials::Anonymous => "{}".to_owned(),
        Credentials::Password { user, password } => format!(
            r#"{{"username":{},"password":{},"serveraddress":"{server}"}}"#,
            &*quoted(user),
            &*quoted(&text(password.expose())),
        ),
        Credentials::IdentityToken { token } => {
            format!(r#"{{"identitytoken":{},"serveraddress":"{server}"}}"#, &*quoted(&text(token.expose())))
        }
    })
}

/// JSON in the base64 of addresses, padded, that no log shows.
pub(crate) fn header(json: &str) -> HeaderValue {
    let encoded = Zeroizing::new(URL_SAFE.encode(json.as_bytes()));
    let mut header = HeaderValue::from_str(&encoded).expect("base64 has nothing that a header cannot");
    header.set_sensitive(true);
    header
}

/// The name by which an engine looks for the login for a registry.
pub(crate) fn server(host: &Host) -> &str {
    if host.is_docker_hub() { HUB } else { host.as_str() }
}

/// As JSON.
pub(crate) fn quoted(text: &str) -> Zeroizing<String> {
    Zeroizing::new(serde_json::to_string(text).expect("every text is JSON"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use pipeline::secret::Secret;

    #[test]
    fn logins_are_in_the_base64_of_addresses() {
        // In the other base64 these have a `+` and a `/`.
        for password in ["~~~>>>???", "\"\\{}~~~ÿÿÿ", "a?b~c>d"] {
            let login = Login::password("me", Secret::new(password.as_bytes().to_vec()));
            let header = header(&json(&login, "ghcr.io"));
            let text = header.to_str().expect("ASCII");
            assert!(header.is_sensitive() && !text.contains(['+', '/']), "{text}");
            let json = URL_SAFE.decode(text).expect("base64");
            let json: serde_json::Value = serde_json::from_slice(&json).expect("JSON");
            assert_eq!(json["password"], password);
            assert_eq!(json["username"], "me");
        }
    }
}

//! SASL PLAIN, RFC 4616: only ever under TLS; the password is checked off the shard, because that costs
//! milliseconds.

use crate::keys::prepare_password;
use crate::negotiation::Awaited;
use crate::sasl::{Awaiting, Mechanism};
use crate::{Connection, Cx, Request};

impl Connection {
    /// `[authzid] NUL authcid NUL passwd`.
    pub(crate) fn plain(&mut self, message: &[u8], cx: &mut Cx<'_>) {
        let mechanism = Mechanism::Plain.name();
        let text = std::str::from_utf8(message).unwrap_or_default();
        let mut parts = text.split('\0');
        let (authzid, user, password) = match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(authzid), Some(user), Some(password), None) if !user.is_empty() && !password.is_empty() => {
                (authzid, user, password)
            }
            _ => return self.auth_failed(None, mechanism, "malformed-request", cx),
        };
        let authzid = Some(authzid).filter(|a| !a.is_empty());
        let user = match self.identity(user, authzid) {
            Ok(user) => user,
            Err((user, condition)) => return self.auth_failed(user, mechanism, condition, cx),
        };
        match prepare_password(password) {
            Ok(password) => {
                self.wait(Awaited::Sasl(Awaiting::Plain { user: user.clone() }));
                cx.out.requests.push(Request::VerifyPlain { user, password });
            }
            // No account has such a password, whether the user exists or not.
            Err(_) => self.auth_failed(Some(user), mechanism, "not-authorized", cx),
        }
    }
}

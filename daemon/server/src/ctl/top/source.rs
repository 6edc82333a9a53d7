//! Where answers come from: the admin socket, connected anew when the connection has ended.
use crate::admin::client::Client;
use crate::admin::protocol::{Answer, Operations, Request, Status};
use std::path::PathBuf;

/// See the module's documentation.
pub(super) struct Source {
    socket: PathBuf,
    client: Option<Client>,
}

impl Source {
    pub(super) fn of(socket: PathBuf) -> Source {
        Source { socket, client: None }
    }

    /// The daemon's status, or why there is none.
    pub(super) fn ask(&mut self) -> Result<Status, String> {
        // What the daemon left when it went is found out by asking; the next one may be there already.
        let again = self.client.is_some();
        match self.try_once() {
            Err(_) if again => self.try_once(),
            done => done,
        }
    }

    fn try_once(&mut self) -> Result<Status, String> {
        let client = match self.client.take() {
            Some(client) => client,
            None => match Client::connect(&self.socket) {
                Ok(Some(client)) => client,
                Ok(None) => return Err("it is not running".into()),
                Err(error) => return Err(error.to_string()),
            },
        };
        match client.call(Request::Status) {
            Ok(Answer::Status(status)) => {
                self.client = Some(client);
                Ok(*status)
            }
            Ok(_) => Err("it is of another version".into()),
            Err(failure) => Err(failure.message),
        }
    }
}

//! One port of one namespace: whose lines are taken, what they may do, who carries them out. Everything that a
//! connection needs to know.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::access::{Access, InputPolicy};
use crate::executor::Executor;
use crate::limits::{Connections, Limits};
use crate::tls::Tls;
use crate::token::Token;

/// What only the namespace itself can tell. It is asked for every connection: addresses come and go.
pub trait Surroundings: Send {
    /// Whether it has this address itself.
    ///
    /// # Errors
    /// It cannot be told, so the peer is refused; the reason.
    fn is_own(&mut self, address: IpAddr) -> Result<bool, String>;

    /// What its firewall does with packets that no rule decides about. What cannot be read is open.
    fn input_policy(&mut self) -> InputPolicy;
}

/// A port and what is behind it.
pub struct Service {
    /// For log lines: which container it is; empty where there is one only.
    name: String,
    access: Access,
    token: Option<Token>,
    tls: Option<Tls>,
    limits: Limits,
    connections: Arc<Connections>,
    executor: Mutex<Box<dyn Executor>>,
    surroundings: Mutex<Box<dyn Surroundings>>,
}

impl Service {
    /// A service with the rules `access` and, where they ask for one, `token`.
    pub fn new(
        name: impl Into<String>,
        access: Access,
        executor: Box<dyn Executor>,
        surroundings: Box<dyn Surroundings>,
    ) -> Self {
        Self {
            name: name.into(),
            access,
            token: None,
            tls: None,
            limits: Limits::default(),
            connections: Arc::default(),
            executor: Mutex::new(executor),
            surroundings: Mutex::new(surroundings),
        }
    }

    /// The token that has to come first.
    #[must_use]
    pub fn with_token(mut self, token: Token) -> Self {
        self.access.token = true;
        self.token = Some(token);
        self
    }

    /// TLS; whether a certificate is asked for, `access` says.
    #[must_use]
    pub fn with_tls(self, tls: Tls) -> Self {
        Self { tls: Some(tls), ..self }
    }

    /// Other limits, counted over all services that share `connections`.
    #[must_use]
    pub fn with_limits(self, limits: Limits, connections: Arc<Connections>) -> Self {
        Self { limits, connections, ..self }
    }

    /// For log lines: `NAME: ` or nothing.
    pub fn label(&self) -> String {
        if self.name.is_empty() { String::new() } else { format!("{}: ", self.name) }
    }

    /// Its rules.
    pub fn access(&self) -> &Access {
        &self.access
    }

    /// How it speaks TLS, if it does.
    pub fn tls(&self) -> Option<&Tls> {
        self.tls.as_ref()
    }

    /// Its limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What is counted against them.
    pub fn connections(&self) -> &Arc<Connections> {
        &self.connections
    }

    /// Whether this is the token. Where none is asked for, none is right.
    pub fn is_token(&self, shown: &str) -> bool {
        self.token.as_ref().is_some_and(|token| token.is(shown))
    }

    /// Who carries requests out.
    pub fn executor(&self) -> MutexGuard<'_, Box<dyn Executor>> {
        // each request leaves an executor ready for the next, whatever became of it
        self.executor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What the namespace can tell.
    pub fn surroundings(&self) -> MutexGuard<'_, Box<dyn Surroundings>> {
        self.surroundings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

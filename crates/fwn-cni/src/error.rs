//! Errors as the CNI protocol tells them: one table of codes, and the JSON that goes to standard output.
//!
//! This file is also the only one that turns the errors of other parts of this crate into codes.

use std::fmt;

use serde::Serialize;

use crate::exec::ExecError;
use crate::network_list::ListError;
use crate::object::{BadMember, json_text};
use crate::version::{SpecVersion, UnknownVersion};

/// The codes: 1 to 99 belong to the specification, 100 and up are ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum ErrorCode {
    /// The version is unknown, or does not have this command.
    IncompatibleVersion = 1,
    /// A key or value that this plugin does not take; the message holds both.
    UnsupportedField = 2,
    /// The container is not known; the runtime need not clean up.
    UnknownContainer = 3,
    /// A variable of the environment is missing or malformed; the message names it.
    BadEnvironment = 4,
    /// Reading or writing failed.
    Io = 5,
    /// JSON cannot be decoded.
    Decode = 6,
    /// The network configuration is wrong.
    BadConfig = 7,
    /// `CNI_NETNS` is no network namespace, or the host's own. Not in the specification; libcni's plugins use it.
    BadNetns = 8,
    /// It may work later.
    TryAgain = 11,
    /// STATUS: ADD would not work.
    NotAvailable = 50,
    /// STATUS: ADD would not work, and running containers suffer too.
    LimitedConnectivity = 51,
    /// The kernel or the engine refused; nothing was changed.
    ApplyFailed = 100,
    /// CHECK: something is missing, changed or in the way.
    CheckFailed = 101,
    /// Another plugin failed without a CNI error, or could not be run.
    PluginFailed = 102,
    /// Another plugin did not end in time.
    TimedOut = 103,
    /// An interface cannot be made, changed or removed.
    InterfaceFailed = 104,
    /// A fault of the program itself. libcni uses the same number.
    Internal = 999,
}

impl From<ErrorCode> for u32 {
    fn from(code: ErrorCode) -> Self {
        code as Self
    }
}

/// An error as a plugin reports it. [`fmt::Display`] shows message and details, not the code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CniError {
    /// An [`ErrorCode`], or any other number from another plugin.
    pub code: u32,
    /// Short: what went wrong.
    pub msg: String,
    /// Longer: where, and what to do.
    pub details: Option<String>,
}

impl CniError {
    /// An error without details.
    pub fn new(code: impl Into<u32>, msg: impl Into<String>) -> Self {
        Self { code: code.into(), msg: msg.into(), details: None }
    }

    /// An error with its own text as the message, and those of its causes as details.
    pub fn caused(code: impl Into<u32>, error: &dyn std::error::Error) -> Self {
        let causes: Vec<String> =
            std::iter::successors(error.source(), |cause| cause.source()).map(ToString::to_string).collect();
        let details = (!causes.is_empty()).then(|| causes.join(": "));
        Self { code: code.into(), msg: error.to_string(), details }
    }

    /// The same with details.
    #[must_use]
    pub fn with_details(self, details: impl Into<String>) -> Self {
        Self { details: Some(details.into()), ..self }
    }

    /// The same with `prefix: ` before the message.
    #[must_use]
    pub fn within(self, prefix: &str) -> Self {
        Self { msg: format!("{prefix}: {}", self.msg), ..self }
    }

    /// The same after what was done had to be undone: what failed then is added to the details.
    #[must_use]
    pub fn undone(self, undo: Result<(), Self>) -> Self {
        let Err(undo) = undo else { return self };
        let details = self.details.iter().cloned().chain([format!("undoing it failed too: {undo}")]);
        let details = details.collect::<Vec<_>>().join("; ");
        self.with_details(details)
    }

    /// The error JSON of the specification, one line without a line end.
    pub fn to_json(&self, version: SpecVersion) -> String {
        #[derive(Serialize)]
        #[serde(rename_all = "camelCase")]
        struct Json<'a> {
            cni_version: &'a str,
            code: u32,
            msg: &'a str,
            #[serde(skip_serializing_if = "Option::is_none")]
            details: Option<&'a str>,
        }
        let json = Json {
            cni_version: version.as_str(),
            code: self.code,
            msg: &self.msg,
            details: self.details.as_deref(),
        };
        json_text(&json)
    }

    /// Several errors as one: the code of the first, all messages. `None` if there are none.
    pub fn join(mut errors: Vec<Self>) -> Option<Self> {
        let code = errors.first()?.code;
        if errors.len() == 1 {
            return errors.pop();
        }
        let all: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Some(Self::new(code, all.join("; ")))
    }
}

impl fmt::Display for CniError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.msg)?;
        self.details.as_ref().map_or(Ok(()), |details| write!(f, ": {details}"))
    }
}

impl std::error::Error for CniError {}

impl From<UnknownVersion> for CniError {
    fn from(error: UnknownVersion) -> Self {
        Self::new(ErrorCode::IncompatibleVersion, error.to_string())
    }
}

impl From<BadMember> for CniError {
    fn from(error: BadMember) -> Self {
        Self::new(ErrorCode::Decode, "network configuration cannot be decoded")
            .with_details(error.to_string())
    }
}

impl From<ExecError> for CniError {
    fn from(error: ExecError) -> Self {
        let code = match error {
            ExecError::Refused(error) => return error,
            ExecError::BadName { .. } => ErrorCode::BadConfig,
            ExecError::TimedOut { .. } => ErrorCode::TimedOut,
            ExecError::NotText { .. } => ErrorCode::Decode,
            ExecError::NotFound { .. } | ExecError::Run { .. } | ExecError::Failed { .. } => {
                ErrorCode::PluginFailed
            }
        };
        CniError::caused(code, &error)
    }
}

impl From<ListError> for CniError {
    fn from(error: ListError) -> Self {
        fn code_of(error: &ListError) -> ErrorCode {
            match error {
                ListError::Read { .. } => ErrorCode::Io,
                ListError::Json { .. } | ListError::Member { .. } => ErrorCode::Decode,
                ListError::Version(_) => ErrorCode::IncompatibleVersion,
                ListError::Invalid { .. } | ListError::NotFound { .. } => ErrorCode::BadConfig,
                ListError::File { source, .. } => code_of(source),
            }
        }
        Self::caused(code_of(&error), &error)
    }
}

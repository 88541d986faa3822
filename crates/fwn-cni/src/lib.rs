//! The CNI protocol, both sides.
//!
//! A plugin implements [`Plugin`] and lets [`serve`] do the rest: variables, versions, errors, VERSION. A runtime uses
//! [`Chain`] over a [`NetworkList`]. Both run other plugins through an [`Executor`]. All released versions of the
//! specification, 0.1.0 to 1.1.0, are spoken.
#![forbid(unsafe_code)]

mod cache;
pub mod chain;
pub mod delegation;
pub mod error;
pub mod exec;
pub mod invocation;
pub mod network_list;
mod object;
pub mod plugin;
mod request;
pub mod result;
pub mod version;

pub use chain::{Chain, RuntimeConf};
pub use delegation::{Delegated, Delegates};
pub use error::{CniError, ErrorCode};
pub use exec::{ExecError, Executor, PluginCall, ProcessExecutor};
pub use invocation::{Attachment, Command, Invocation, NetworkConf};
pub use network_list::{ListError, NetworkList, PluginConf};
pub use plugin::{Plugin, Served, serve};
pub use result::{AddResult, chained_result, pass_on};
pub use version::SpecVersion;

//! Every failure of this program as a CNI error: the one table from our errors to codes.

use fwn_cni::error::{CniError, ErrorCode};
use fwn_kernel::encode::plan::EncodePlanError;
use fwn_kernel::firewall::FirewallError;
use fwn_kernel::firewall::apply::ApplyError;
use fwn_kernel::netns::NetnsError;
use fwn_kernel::nft::transaction::{CommitError, Refusal};
use fwn_node::causes::with_causes;
use fwn_node::client::ClientError;
use fwn_plan::origin::Origin;
use fwn_plan::problem::{Problem, Problems, render_problems};
use fwn_plan::ruleset::RuleSet;

use crate::persist::PersistError;
use crate::resolver::{Reason, ResolveError};
use crate::state::StateError;

/// Why a command failed.
#[derive(Debug)]
pub enum Failure {
    /// The configuration, or a file that it names.
    Configuration(Problems),
    /// The namespace.
    Netns(NetnsError),
    /// Names of rules, and where they were written.
    Names(ResolveError, Problems),
    /// The state folder.
    State(StateError),
    /// Saved sets.
    Persist(PersistError),
    /// The kernel, or what encodes for it.
    Apply(ApplyError),
    /// The daemon that is to serve the sets, and where it was asked for.
    Ipsetd(ClientError, Origin),
}

impl From<Failure> for CniError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Configuration(problems) => Self::new(ErrorCode::BadConfig, first_lines(&problems))
                .with_details(render_problems(&problems)),
            Failure::Netns(error) => {
                let code = match &error {
                    NetnsError::Missing(_) => ErrorCode::UnknownContainer,
                    _ => ErrorCode::BadNetns,
                };
                Self::new(code, with_causes(&error))
            }
            Failure::Names(error, problems) => {
                // a name that does not resolve now may do so later; one that is none never will
                let never = match &error {
                    ResolveError::Names(names) => {
                        names.values().any(|reason| matches!(reason, Reason::Invalid))
                    }
                    ResolveError::ResolvConf { .. } => true,
                    ResolveError::File { .. } => false,
                };
                let code = if never { ErrorCode::BadConfig } else { ErrorCode::TryAgain };
                if problems.0.is_empty() {
                    return Self::new(code, with_causes(&error));
                }
                Self::new(code, first_lines(&problems)).with_details(render_problems(&problems))
            }
            Failure::State(error @ StateError::Damaged { .. }) => {
                let hint = "a DEL of its attachment removes it, with what it made; then ADD again";
                Self::new(ErrorCode::Io, with_causes(&error)).with_details(hint)
            }
            Failure::State(error) => Self::new(ErrorCode::Io, with_causes(&error)),
            Failure::Persist(error) => Self::new(ErrorCode::Io, with_causes(&error)),
            Failure::Apply(ApplyError::Netns(error)) => Failure::Netns(error).into(),
            // what no engine takes is wrong with the configuration
            Failure::Apply(ApplyError::Encode(EncodePlanError::Rules(problems))) => {
                Failure::Configuration(problems).into()
            }
            Failure::Apply(ApplyError::Firewall(FirewallError::Commit(CommitError::Refused(refusals))))
                if refusals.iter().all(|refusal| refusal.origin.is_some()) =>
            {
                Failure::Configuration(refused(refusals)).into()
            }
            Failure::Apply(ApplyError::Firewall(FirewallError::Commit(CommitError::TooLong {
                origin: Some(origin),
                step,
                source,
            }))) => {
                let message = format!("{step} is not possible: it is too long: {source}");
                Failure::Configuration(Problem::new(origin, message).into()).into()
            }
            Failure::Apply(error @ ApplyError::Firewall(FirewallError::Journal(_))) => {
                Self::new(ErrorCode::Io, with_causes(&error))
            }
            // somebody lists a set that is to be swapped
            Failure::Apply(ApplyError::Sets(error)) if error.is_busy() => {
                Self::new(ErrorCode::TryAgain, with_causes(&error))
            }
            Failure::Apply(error) => Self::new(ErrorCode::ApplyFailed, with_causes(&error)),
            // what it refuses is wrong with the configuration
            Failure::Ipsetd(error @ ClientError::Refused { .. }, origin) => {
                let message = error.to_string();
                let ClientError::Refused { hint, .. } = error else { unreachable!("matched above") };
                Failure::Configuration(Problem { origin, message, hint }.into()).into()
            }
            Failure::Ipsetd(error, _) => Self::new(ErrorCode::TryAgain, with_causes(&error))
                .with_details("the key `ipsetd` needs a running `ipsetd node` on this node"),
        }
    }
}

/// What the kernel refuses of the configuration.
fn refused(refusals: Vec<Refusal>) -> Problems {
    let problem = |refusal: Refusal| {
        let message = refusal.words();
        refusal.origin.map(|origin| Problem { origin, message, hint: refusal.hint.map(str::to_owned) })
    };
    Problems(refusals.into_iter().filter_map(problem).collect())
}

/// Every place where a name is written that has no addresses.
pub(crate) fn unresolved(ruleset: &RuleSet, error: ResolveError) -> Failure {
    let mut problems = Problems::default();
    if let ResolveError::Names(names) = &error {
        let mut push = |name: &str, origin: &Origin| {
            if let Some(reason) = names.get(name) {
                problems.push(Problem::new(origin.clone(), format!("cannot resolve `{name}`: {reason}")));
            }
        };
        for set in &ruleset.sets {
            set.host_names().for_each(|name| push(name, set.origin()));
        }
        for rule in &ruleset.rules {
            rule.parsed.host_names().for_each(|name| push(name, &rule.origin));
        }
    }
    Failure::Names(error, problems)
}

/// One line a problem, as many as a runtime's log can bear; the details have them with the text shown.
fn first_lines(problems: &Problems) -> String {
    const MOST: usize = 20;
    let mut lines: Vec<String> = problems.0.iter().take(MOST).map(ToString::to_string).collect();
    if problems.0.len() > MOST {
        lines.push(format!("... and {} more", problems.0.len() - MOST));
    }
    lines.join("\n")
}

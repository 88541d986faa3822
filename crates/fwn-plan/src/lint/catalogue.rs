//! Every lint: its id, how loud it is, and why it is worth a word. Ids are stable: files name them to silence them.

/// What a finding is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Lint {
    /// `drop-without-loopback`
    DropWithoutLoopback,
    /// `drop-without-nd`
    DropWithoutNd,
    /// `drop-without-answers`
    DropWithoutAnswers,
    /// `drop-without-dns`
    DropWithoutDns,
    /// `one-family-policy`
    OneFamilyPolicy,
    /// `unreachable-rule`
    UnreachableRule,
    /// `duplicate-rule`
    DuplicateRule,
    /// `open-ipsetd-port`
    OpenIpsetdPort,
    /// `unused-set`
    UnusedSet,
    /// `unused-chain`
    UnusedChain,
    /// `unknown-set`
    UnknownSet,
    /// `unset-variable`
    UnsetVariable,
    /// `mesos-without-executor`
    MesosWithoutExecutor,
    /// `nothing-configured`
    NothingConfigured,
    /// `rules-only`
    RulesOnly,
    /// `name-resolved-once`
    NameResolvedOnce,
}

/// How loud a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// ADD refuses it.
    Error,
    /// It is most likely not what was meant.
    Warning,
    /// It is right, and good to know.
    Note,
}

impl Lint {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::DropWithoutLoopback,
        Self::DropWithoutNd,
        Self::DropWithoutAnswers,
        Self::DropWithoutDns,
        Self::OneFamilyPolicy,
        Self::UnreachableRule,
        Self::DuplicateRule,
        Self::OpenIpsetdPort,
        Self::UnusedSet,
        Self::UnusedChain,
        Self::UnknownSet,
        Self::UnsetVariable,
        Self::MesosWithoutExecutor,
        Self::NothingConfigured,
        Self::RulesOnly,
        Self::NameResolvedOnce,
    ];

    /// The ids of all, in the same order.
    pub const IDS: [&'static str; 16] = {
        let mut ids = [""; 16];
        let mut at = 0;
        while at < ids.len() {
            ids[at] = Self::ALL[at].id();
            at += 1;
        }
        ids
    };

    /// Its id.
    pub const fn id(self) -> &'static str {
        match self {
            Self::DropWithoutLoopback => "drop-without-loopback",
            Self::DropWithoutNd => "drop-without-nd",
            Self::DropWithoutAnswers => "drop-without-answers",
            Self::DropWithoutDns => "drop-without-dns",
            Self::OneFamilyPolicy => "one-family-policy",
            Self::UnreachableRule => "unreachable-rule",
            Self::DuplicateRule => "duplicate-rule",
            Self::OpenIpsetdPort => "open-ipsetd-port",
            Self::UnusedSet => "unused-set",
            Self::UnusedChain => "unused-chain",
            Self::UnknownSet => "unknown-set",
            Self::UnsetVariable => "unset-variable",
            Self::MesosWithoutExecutor => "mesos-without-executor",
            Self::NothingConfigured => "nothing-configured",
            Self::RulesOnly => "rules-only",
            Self::NameResolvedOnce => "name-resolved-once",
        }
    }

    /// The lint of an id.
    pub fn parse(id: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|lint| lint.id() == id)
    }

    /// How loud it is.
    pub fn level(self) -> Level {
        if self == Self::NameResolvedOnce { Level::Note } else { Level::Warning }
    }

    /// Why it is worth a word, in one line.
    pub fn why(self) -> &'static str {
        match self {
            Self::DropWithoutLoopback => {
                "programs reach themselves and each other over loopback, and health checks come over it"
            }
            Self::DropWithoutNd => {
                "IPv6 finds no neighbour without neighbour discovery: nothing gets through"
            }
            Self::DropWithoutAnswers => "a connection that is let in and cannot be answered hangs",
            Self::DropWithoutDns => "the container cannot look up the names that its rules are about",
            Self::OneFamilyPolicy => "what is closed for one IP family stays open for the other",
            Self::UnreachableRule => "an earlier rule takes all of its packets, so it never does anything",
            Self::DuplicateRule => {
                "the second of two equal rules does nothing, and will be forgotten on a change"
            }
            Self::OpenIpsetdPort => "whoever reaches ipsetd can change the sets that the firewall stands on",
            Self::UnusedSet => "a set that no rule uses lets nothing in and keeps nothing out",
            Self::UnusedChain => "the rules of a chain that nothing jumps to see no packet",
            Self::UnknownSet => "ADD fails, unless another plugin has made the set before",
            Self::UnsetVariable => "ADD fails, unless the plugin's environment has the variable",
            Self::MesosWithoutExecutor => {
                "the executor cannot answer its agent: tasks hang in staging, and a kill gets \"no kill ack\""
            }
            Self::NothingConfigured => "the container stays open",
            Self::RulesOnly => {
                "the ADD of a runtime fails; only `firewallnetns add` and `oci-hook` take such a network"
            }
            Self::NameResolvedOnce => {
                "addresses of a name are taken at ADD; when they change, the rule does not"
            }
        }
    }
}

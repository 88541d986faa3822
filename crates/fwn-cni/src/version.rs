//! The released versions of the CNI specification, their order, and the form that a result has in each.
//!
//! Text comes in, a [`SpecVersion`] goes out. What is not a released version is refused here and nowhere else.

use std::fmt;
use std::str::FromStr;

/// A released version of the CNI specification. Ordered by age, the oldest is the smallest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SpecVersion {
    /// ADD and DEL; one address per family.
    V0_1_0,
    /// VERSION; `args`.
    V0_2_0,
    /// Chains, `prevResult`, lists of interfaces and addresses.
    V0_3_0,
    /// 0.3.0 with its `ip`/`ips` misprint mended.
    V0_3_1,
    /// CHECK; `prevResult` on DEL.
    V0_4_0,
    /// No `version` in addresses; names have a syntax.
    V1_0_0,
    /// GC and STATUS; `mtu` and more in results.
    V1_1_0,
}

/// How a result is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResultForm {
    /// 0.1.0 and 0.2.0: `ip4` and `ip6`, routes inside them.
    Single,
    /// 0.3.0 to 0.4.0: lists, every address with a `version` of `"4"` or `"6"`.
    Versioned,
    /// 1.0.0 and later: lists.
    Listed,
}

/// The text is no version that this crate speaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("CNI version `{text}` is not supported, only {} are", SpecVersion::list())]
pub struct UnknownVersion {
    /// What was given.
    pub text: String,
}

impl SpecVersion {
    /// All of them, oldest first.
    pub const ALL: [Self; 7] =
        [Self::V0_1_0, Self::V0_2_0, Self::V0_3_0, Self::V0_3_1, Self::V0_4_0, Self::V1_0_0, Self::V1_1_0];

    /// The newest one.
    pub const LATEST: Self = Self::V1_1_0;

    /// What a configuration without `cniVersion` is in. libcni says 0.1.0, the upgrade guide 0.2.0; results look the
    /// same in both.
    pub const UNSTATED: Self = Self::V0_1_0;

    /// The text as in `cniVersion`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::V0_1_0 => "0.1.0",
            Self::V0_2_0 => "0.2.0",
            Self::V0_3_0 => "0.3.0",
            Self::V0_3_1 => "0.3.1",
            Self::V0_4_0 => "0.4.0",
            Self::V1_0_0 => "1.0.0",
            Self::V1_1_0 => "1.1.0",
        }
    }

    /// The form of its results.
    pub const fn form(self) -> ResultForm {
        match self {
            Self::V0_1_0 | Self::V0_2_0 => ResultForm::Single,
            Self::V0_3_0 | Self::V0_3_1 | Self::V0_4_0 => ResultForm::Versioned,
            Self::V1_0_0 | Self::V1_1_0 => ResultForm::Listed,
        }
    }

    fn list() -> String {
        Self::ALL.map(Self::as_str).join(", ")
    }
}

impl fmt::Display for SpecVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for SpecVersion {
    type Err = UnknownVersion;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL
            .into_iter()
            .find(|version| version.as_str() == text)
            .ok_or_else(|| UnknownVersion { text: text.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_reads_back_and_they_are_in_order() {
        for version in SpecVersion::ALL {
            assert_eq!(version.to_string().parse(), Ok(version));
        }
        assert!(SpecVersion::ALL.is_sorted());
        assert_eq!(SpecVersion::ALL.last(), Some(&SpecVersion::LATEST));
    }

    #[test]
    fn what_was_never_released_is_refused_with_the_list() {
        for text in ["", "1.0", "1.2.0", "0.3.2", "v1.0.0", " 1.0.0"] {
            let error = text.parse::<SpecVersion>().expect_err(text);
            assert!(error.to_string().contains(&format!("`{text}`")), "{error}");
            assert!(error.to_string().contains("0.1.0, 0.2.0, 0.3.0, 0.3.1, 0.4.0, 1.0.0, 1.1.0"), "{error}");
        }
    }
}

//! Settings under `/proc/sys/net` of the container's namespace.
//!
//! The kernel shows there the namespace of the thread that opens a file, so all of this runs on a thread inside.

use std::fs;
use std::path::PathBuf;

use fwn_kernel::netns::TargetNetns;

use crate::error::MacvtapError;

/// Prepares an interface before it is set up: it will announce its addresses by itself when it comes up (gratuitous
/// ARP, unsolicited neighbour advertisement), and takes IPv6 addresses if it is to have some.
pub(crate) fn prepare(target: &TargetNetns, ifname: &str, ipv6: bool) -> Result<(), MacvtapError> {
    target.run(|| {
        for path in [conf_path(4, ifname, "arp_notify"), conf_path(6, ifname, "ndisc_notify")] {
            // a container without it works, its neighbours only learn later
            if let Err(error) = fs::write(&path, "1") {
                log::warn!("interface `{ifname}` will not announce itself: `{}`: {error}", path.display());
            }
        }
        if ipv6 {
            for name in ["lo", ifname] {
                set(conf_path(6, name, "disable_ipv6"), "0")?;
            }
            set(conf_path(6, ifname, "keep_addr_on_down"), "1")?;
        }
        Ok(())
    })?
}

/// Writes a value unless it is there: `/proc/sys` may be read-only where everything is as it should be.
fn set(path: PathBuf, value: &'static str) -> Result<(), MacvtapError> {
    let current = fs::read_to_string(&path).unwrap_or_default();
    if current.trim() == value {
        return Ok(());
    }
    fs::write(&path, value).map_err(|source| MacvtapError::Sysctl { path, value, source })
}

fn conf_path(family: u8, ifname: &str, key: &str) -> PathBuf {
    ["/proc/sys/net", &format!("ipv{family}"), "conf", ifname, key].iter().collect()
}

//! Names for numbers, which the host keeps in files: `/etc/protocols`, `/etc/services`, users and groups. Only the
//! questions are here; who answers them opens the files.

/// Answers what number a name stands for. `None` means that there is no such name.
pub trait Databases {
    /// Number of a protocol (`/etc/protocols`): 33 for `dccp`.
    fn protocol(&self, name: &str) -> Option<u8>;
    /// Port of a service (`/etc/services`), of any protocol if none is given: 80 for `http`.
    fn service(&self, name: &str, protocol: Option<u8>) -> Option<u16>;
    /// Number of a user.
    fn user(&self, name: &str) -> Option<u32>;
    /// Number of a group.
    fn group(&self, name: &str) -> Option<u32>;
}

/// Knows no name at all: for tests, and for hosts without these files.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoDatabases;

impl Databases for NoDatabases {
    fn protocol(&self, _name: &str) -> Option<u8> {
        None
    }

    fn service(&self, _name: &str, _protocol: Option<u8>) -> Option<u16> {
        None
    }

    fn user(&self, _name: &str) -> Option<u32> {
        None
    }

    fn group(&self, _name: &str) -> Option<u32> {
        None
    }
}

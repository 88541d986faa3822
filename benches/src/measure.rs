//! Rounds: every contender once, each in a fresh namespace, then all again, the next one first. What disturbs the
//! machine meanwhile disturbs all alike.

use std::time::Duration;

use fwn_testkit::Netns;

use crate::BenchError;
use crate::contender::{Contender, Operation};
use crate::launch::run;
use crate::material::Material;
use crate::programs::Programs;
use crate::workload::Workload;

/// The times of one workload and operation.
#[derive(Debug, Clone)]
pub struct Samples {
    /// What was put in force.
    pub workload: Workload,
    /// ADD or DEL.
    pub operation: Operation,
    /// A time for each round, for each contender; the first is ours.
    pub times: Vec<(Contender, Vec<Duration>)>,
}

/// Where the programs work.
#[derive(Debug)]
pub struct Bench<'a> {
    /// What is measured.
    pub programs: &'a Programs,
    /// The namespace in which the plugin is started.
    pub host: &'a Netns,
    /// How often.
    pub rounds: usize,
}

impl Bench<'_> {
    /// Shows that all contenders end in the same firewall, then times them.
    ///
    /// # Errors
    /// They do not, or one fails.
    pub fn measure(&self, material: &Material, operation: Operation) -> Result<Samples, BenchError> {
        let all: Vec<_> =
            Contender::ALL.into_iter().filter(|one| one.takes_part(material, operation)).collect();
        for contender in &all {
            self.verify(material, operation, *contender)?;
        }
        let mut times: Vec<_> = all.iter().map(|one| (*one, Vec::new())).collect();
        for round in 0..self.rounds {
            // neither making nor removing a namespace falls between two measurements
            let namespaces: Vec<_> = all.iter().map(|_| Netns::new()).collect();
            for turn in 0..all.len() {
                let at = (turn + round) % all.len();
                if let (Some((contender, times)), Some(netns)) = (times.get_mut(at), namespaces.get(at)) {
                    times.push(self.time(material, operation, *contender, netns)?);
                }
            }
        }
        Ok(Samples { workload: material.workload, operation, times })
    }

    /// Times one contender in a fresh namespace. For DEL the plugin puts the firewall there first.
    fn time(
        &self,
        material: &Material,
        operation: Operation,
        contender: Contender,
        netns: &Netns,
    ) -> Result<Duration, BenchError> {
        if operation == Operation::Del {
            run(self.host, &Contender::Ours.steps(material, Operation::Add, self.programs, netns))?;
        }
        let steps = contender.steps(material, operation, self.programs, netns);
        let elapsed = run(if contender.enters_by_itself() { self.host } else { netns }, &steps)?;
        material.forget_state()?;
        Ok(elapsed)
    }

    fn verify(
        &self,
        material: &Material,
        operation: Operation,
        contender: Contender,
    ) -> Result<(), BenchError> {
        let netns = Netns::new();
        self.time(material, operation, contender, &netns)?;
        let (wanted, found) = match operation {
            Operation::Add => (material.firewall.clone(), netns.dump()),
            Operation::Del => (String::new(), remains(&netns.dump())),
        };
        if wanted == found {
            return Ok(());
        }
        let pair = wanted.lines().map(Some).chain([None]).zip(found.lines().map(Some).chain([None]));
        let first = pair
            .into_iter()
            .find(|(a, b)| a != b)
            .map(|(a, b)| format!("wanted: {}\nfound:  {}", a.unwrap_or("(end)"), b.unwrap_or("(end)")));
        Err(BenchError::Different {
            workload: material.workload.to_string(),
            operation: operation.to_string(),
            contender: contender.name(),
            first: first.unwrap_or_default(),
        })
    }
}

/// What is left of a firewall: empty tables are as good as none.
fn remains(dump: &str) -> String {
    let open = |line: &str| line.starts_with(':') && line.ends_with(" ACCEPT");
    let empty = |line: &&str| line.starts_with('*') || open(line) || *line == "COMMIT";
    dump.lines().filter(|line| !empty(line)).fold(String::new(), |all, line| all + line + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_tables_are_no_remains() {
        assert_eq!(remains("*filter\n:INPUT ACCEPT\nCOMMIT\n"), "");
        assert_eq!(remains("*filter\n:INPUT DROP\n:own -\nCOMMIT\n"), ":INPUT DROP\n:own -\n");
        assert_eq!(remains("-A INPUT -j ACCEPT\n"), "-A INPUT -j ACCEPT\n", "the line of a rule ends so too");
    }
}

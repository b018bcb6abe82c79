//! containerd's records of containers, as a stream: all of them may be more than one answer can hold.

use std::collections::HashMap;

use containerd_client::services::v1 as api;
use containerd_client::types::v1::Process;
use mill_model::Timestamp;

use super::{Containerd, RuntimeError, timestamp};

/// What Mill needs of a record. The rest, above all its spec, is some ten kilobytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    /// Its name.
    pub(crate) id: String,
    /// Its labels.
    pub(crate) labels: HashMap<String, String>,
    /// When it was made.
    pub(crate) created_at: Timestamp,
}

impl Containerd {
    /// Records of those whose name begins so; all for an empty one.
    pub(crate) async fn records(&self, prefix: &str) -> Result<Vec<Record>, RuntimeError> {
        let asked = "list containers";
        let request = api::ListContainersRequest { filters: filters(prefix) };
        let mut parts = self.call(asked, self.containers().list_stream(request)).await?;
        let after = self.tempo().runtime_deadline;
        let mut all = Vec::new();
        loop {
            let part = tokio::time::timeout(after, parts.message()).await;
            let part = part.map_err(|_| RuntimeError::Deadline { asked, after })?;
            let Some(part) = part.map_err(|status| RuntimeError::told(asked, status))? else {
                return Ok(all);
            };
            all.extend(part.container.map(|record| Record {
                created_at: timestamp(record.created_at.as_ref()),
                id: record.id,
                labels: record.labels,
            }));
        }
    }

    /// Names of all that have a task. A task is small: one answer holds some ten thousand.
    pub(crate) async fn task_names(&self) -> Result<Vec<String>, RuntimeError> {
        let request = api::ListTasksRequest { filter: String::new() };
        let answer = self.call("list tasks", self.tasks().list(request)).await?;
        // The shim knows its container as `id`; `container_id` came later and stays empty in 1.6's list.
        let name = |task: Process| if task.container_id.is_empty() { task.id } else { task.container_id };
        Ok(answer.tasks.into_iter().map(name).collect())
    }
}

/// A filter in containerd's words: a regular expression in quotes of Go's. Of what names are made of only the dot means
/// something in it.
fn filters(prefix: &str) -> Vec<String> {
    match prefix {
        "" => vec![],
        prefix => vec![format!(r#"id~="^{}""#, prefix.replace('.', r"\\."))],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dot_in_a_name_is_a_dot() {
        assert_eq!(filters("web-2222."), [r#"id~="^web-2222\\.""#]);
        assert_eq!(filters(""), Vec::<String>::new());
    }
}

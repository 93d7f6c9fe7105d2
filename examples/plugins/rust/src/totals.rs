//! Records and bytes per topic, and their form in a file: one line per topic, with tabs between topic, records and bytes.

use std::collections::BTreeMap;

/// More topics than this are a producer's mistake.
pub const MAX_TOPICS: usize = 65536;
/// A longer topic is one, too.
pub const MAX_TOPIC_BYTES: usize = 1024;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Totals {
    by_topic: BTreeMap<String, (u64, u64)>,
}

/// Why a record is not counted.
#[derive(Debug, PartialEq)]
pub enum Refusal {
    BadTopic,
    TooManyTopics,
}

impl Totals {
    /// Topics in it.
    pub fn count(&self) -> usize {
        self.by_topic.len()
    }

    /// Counts one record.
    pub fn add(&mut self, topic: &[u8], bytes: u64) -> Result<(), Refusal> {
        if topic.len() > MAX_TOPIC_BYTES || topic.iter().any(u8::is_ascii_control) {
            return Err(Refusal::BadTopic);
        }
        let topic = std::str::from_utf8(topic).map_err(|_| Refusal::BadTopic)?;
        if let Some(total) = self.by_topic.get_mut(topic) {
            total.0 += 1;
            total.1 += bytes;
        } else if self.by_topic.len() < MAX_TOPICS {
            self.by_topic.insert(topic.to_string(), (1, bytes));
        } else {
            return Err(Refusal::TooManyTopics);
        }
        Ok(())
    }

    /// The file's text, sorted by topic.
    pub fn text(&self) -> String {
        let lines = self.by_topic.iter();
        lines.map(|(topic, (records, bytes))| format!("{}\t{}\t{}\n", topic, records, bytes)).collect()
    }

    /// From a file's text; `None` if it is damaged.
    pub fn from_text(text: &str) -> Option<Totals> {
        let mut totals = Totals::default();
        for line in text.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            if fields.len() != 3 {
                return None;
            }
            let total = (fields[1].parse().ok()?, fields[2].parse().ok()?);
            totals.by_topic.insert(fields[0].to_string(), total);
        }
        Some(totals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_add_up_and_are_the_same_after_a_way_through_the_file() {
        let mut totals = Totals::default();
        for (topic, bytes) in [("web", 3), ("audit", 2), ("web", 1), ("", 5)] {
            assert_eq!(totals.add(topic.as_bytes(), bytes), Ok(()));
        }
        assert_eq!(totals.text(), "\t1\t5\naudit\t1\t2\nweb\t2\t4\n");
        assert_eq!(Totals::from_text(&totals.text()), Some(totals));
    }

    #[test]
    fn what_cannot_stand_in_a_line_is_refused_and_a_damaged_file_is_told_from_an_empty_one() {
        let mut totals = Totals::default();
        assert_eq!(totals.add(b"bad\ttopic", 1), Err(Refusal::BadTopic));
        assert_eq!(totals.add(&[0xFF], 1), Err(Refusal::BadTopic));
        assert_eq!(totals.add(&[b'x'; MAX_TOPIC_BYTES + 1], 1), Err(Refusal::BadTopic));
        assert_eq!(totals, Totals::default());
        assert_eq!(Totals::from_text(""), Some(totals));
        assert_eq!(Totals::from_text("web\tmany\t1\n"), None);
    }
}

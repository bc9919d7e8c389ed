//! Table properties: what the contract sets is in the table, also where the table was made before.

use crate::error::LakeError;
use crate::schema::MetadataChange;
use crate::table::Table;

impl Table {
    /// A property as it has effect here: as the contract sets it, else as the table has it.
    pub(crate) fn property(&self, key: &str) -> Option<String> {
        let own = self.definition.properties.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone());
        own.or_else(|| self.writer.known().property(key).map(str::to_owned))
    }

    /// Writes properties of the contract into the table that it has not, or has with other values. Whether it did.
    pub async fn apply_properties(&self) -> Result<bool, LakeError> {
        self.refresh().await?;
        let change = {
            let known = self.writer.known();
            let differs = |(key, value): &&(String, String)| known.property(key) != Some(value.as_str());
            let properties = self.definition.properties.iter().filter(differs).cloned().collect();
            MetadataChange { properties, ..MetadataChange::default() }
        };
        if change.is_empty() {
            return Ok(false);
        }
        let names: Vec<_> = change.properties.iter().map(|(key, _)| key.as_str()).collect();
        tracing::info!(table = self.name(), ?names, "the contract's properties are written into the table");
        self.writer.change(change, "SET TBLPROPERTIES").await?;
        Ok(true)
    }
}

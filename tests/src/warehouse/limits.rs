//! What a table in a warehouse can be.

use weir_contract::{DataType, TableColumn};
use weir_warehouse::limits::unfit;

fn columns(count: usize, data_type: DataType) -> Vec<TableColumn> {
    (0..count).map(|number| TableColumn { name: format!("c{number}"), data_type, nullable: true }).collect()
}

#[test]
fn as_many_columns_as_a_warehouse_takes() {
    let text = |count| columns(count, DataType::String);
    assert_eq!(unfit(Some("synapse://host/pool"), &text(1_024), 0), None);
    for url in [None, Some("synapse://host/pool"), Some("fabric://host/warehouse")] {
        let message = unfit(url, &text(1_025), 0).expect("too many");
        assert!(message.contains("1025 columns") && message.contains("takes 1024"), "{message}");
    }
    assert_eq!(unfit(Some("sqlite:///w.db"), &text(2_000), 0), None);
    assert!(unfit(Some("sqlite:///w.db"), &text(2_001), 0).is_some());
}

#[test]
fn columns_that_data_may_add_count() {
    let text = columns(1_000, DataType::String);
    assert_eq!(unfit(None, &text, 24), None);
    let message = unfit(None, &text, 25).expect("too many");
    assert!(message.contains("`max_added_columns` of [drift] be at most 24"), "{message}");
    assert_eq!(unfit(Some("sqlite:///w.db"), &text, 1_000), None);
}

#[test]
fn a_row_has_to_fit_a_page_of_a_pool() {
    let decimals = |count| columns(count, DataType::Decimal { precision: 38, scale: 2 });
    assert_eq!(unfit(None, &decimals(400), 0), None);
    let message = unfit(None, &decimals(500), 0).expect("too wide");
    assert!(message.contains("takes 8060"), "{message}");
    assert_eq!(unfit(Some("sqlite:///w.db"), &decimals(500), 0), None);
}

//! What a row group is made of: frames as small as a row each share one, because each has a note of every column in the
//! footer, which is in memory until its file is closed.

use object_store::ObjectStoreExt;
use parquet::file::reader::{FileReader, SerializedFileReader};
use weir_lake::Append;

use super::{counted, frame, memory, model, open, producer, rows};

#[tokio::test]
async fn frames_of_a_row_share_row_groups() {
    const ROWS: i64 = 30_000;
    let store = memory();
    let table = open(&store).await;
    let mut writer = table.write();
    for row in 1..=ROWS {
        writer.write(frame(&model("a", row..=row))).await.unwrap();
    }
    let append =
        Append { producer: producer("a", ROWS), rows: writer.finish().await.unwrap(), books: counted(ROWS as usize) };
    table.append(append, None).await.unwrap();
    let mut expected = model("a", 1..=ROWS);
    expected.sort();
    assert_eq!(rows(&table).await, expected);
    for file in table.snapshot().await.unwrap().files {
        let bytes = store.get(&format!("lake/orders/{}", file.log_path).into()).await.unwrap().bytes().await.unwrap();
        let groups = SerializedFileReader::new(bytes).unwrap().num_row_groups();
        assert!(groups <= 16, "{groups} row groups for {ROWS} rows of one frame each");
    }
}

//! Random histories: however blobs are replaced, files merged, lookups changed and refreshes cut off, raced and repeated,
//! a refresh that gets to its end leaves what the query gives of everything.

use proptest::prelude::*;

use super::*;
use weir_lake::CompactOptions;

#[derive(Debug, Clone)]
enum Step {
    Put {
        blob: u8,
        orders: Vec<Order>,
    },
    Compact,
    CompactDaily,
    Shops(u8),
    /// In groups of so many units, one commit only if it is hurried.
    Refresh {
        units: usize,
        rows: u64,
        hurried: bool,
    },
    Race,
}

const REGIONS: [&[(i64, &str)]; 3] = [&[], &[(1, "north"), (2, "south")], &[(1, "east"), (3, "west")]];

fn order() -> impl Strategy<Value = Order> {
    (proptest::option::weighted(0.9, -3_i32..9), 1_i64..4, 0_i64..1_000)
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0_u8..4, proptest::collection::vec(order(), 0..12)).prop_map(|(blob, orders)| Step::Put { blob, orders }),
        1 => Just(Step::Compact),
        1 => Just(Step::CompactDaily),
        1 => (0_u8..3).prop_map(Step::Shops),
        3 => (1_usize..5, 1_u64..20, any::<bool>())
            .prop_map(|(units, rows, hurried)| Step::Refresh { units, rows, hurried }),
        1 => Just(Step::Race),
    ]
}

async fn play(steps: Vec<Step>) {
    let world = World::new(DAILY).await;
    let mut blobs: BTreeMap<u8, Vec<Order>> = BTreeMap::new();
    let mut shops: &[(i64, &str)] = &[];
    for (version, step) in (1..).zip(steps) {
        match step {
            Step::Put { blob, orders } => {
                world.put(&format!("blob {blob}"), version, &orders).await;
                blobs.insert(blob, orders);
            }
            Step::Compact => drop(world.orders.compact(CompactOptions::default(), None).await.unwrap()),
            Step::CompactDaily => drop(world.daily().await.compact(CompactOptions::default(), None).await.unwrap()),
            Step::Shops(which) => {
                shops = REGIONS[usize::from(which)];
                world.open_shops(version, shops).await;
            }
            Step::Refresh { units, rows, hurried } => {
                let stop_at = hurried.then(tokio::time::Instant::now);
                let group_bytes = rows * world.derivation().row_bytes(0);
                let options = Options { group_bytes, units_per_commit: units, stop_at, ..options() };
                let done = world.refresh(options).await.unwrap();
                if done.units_left == 0 {
                    assert_eq!(world.sums().await, expected(blobs.values().flatten(), shops));
                }
            }
            Step::Race => {
                let other = World::over(Arc::clone(&world.store), DAILY).await;
                let small = Options { units_per_commit: 2, ..options() };
                let (one, two) = tokio::join!(world.refresh(small), other.refresh(small));
                // One may give up, because the other is at it all the time.
                for done in [one, two] {
                    assert!(matches!(done, Ok(_) | Err(DerivedError::Contended { .. })), "{done:?}");
                }
                other.refresh(small).await.unwrap();
                assert_eq!(other.sums().await, expected(blobs.values().flatten(), shops));
            }
        }
    }
    world.refresh(options()).await.unwrap();
    assert_eq!(world.sums().await, expected(blobs.values().flatten(), shops));
    assert_eq!(world.refresh(options()).await.unwrap(), Refreshed::default(), "the second time there is nothing to do");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_refresh_that_gets_to_its_end_is_a_full_one(steps in proptest::collection::vec(step(), 1..14)) {
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap().block_on(play(steps));
    }
}

//! Schemas of any nesting.

use rand::Rng;
use rand::rngs::StdRng;

use super::super::thrift::Struct;
use super::super::{few, one};
use super::lie32;

pub(super) const BOOLEAN: i32 = 0;
pub(super) const INT32: i32 = 1;
pub(super) const INT64: i32 = 2;
pub(super) const INT96: i32 = 3;
pub(super) const FLOAT: i32 = 4;
pub(super) const DOUBLE: i32 = 5;
pub(super) const BYTE_ARRAY: i32 = 6;
pub(super) const FIXED: i32 = 7;

/// A column that holds values.
#[derive(Debug, Clone)]
pub(super) struct Leaf {
    pub(super) path: Vec<String>,
    pub(super) kind: i32,
    pub(super) width: usize,
    /// Levels of definition and repetition.
    pub(super) levels: (u32, u32),
}

#[derive(Debug, Default)]
pub(super) struct Schema {
    pub(super) elements: Vec<Vec<u8>>,
    pub(super) leaves: Vec<Leaf>,
}

pub(super) fn schema(random: &mut StdRng) -> Schema {
    let mut schema = Schema::default();
    let columns = if random.random_ratio(1, 30) { 1 + few(random, 4_000) } else { 1 + few(random, 20) };
    let root = Struct::default().bytes(4, b"root").i32(5, lie32(random, columns)).end();
    schema.elements.push(root);
    for at in 0..columns {
        let name = match random.random_range(0..8) {
            0..=3 => ["n", "s", "b", "d"][at % 4].to_owned(),
            4 => "x".repeat(1 + few(random, 2_000)) + &at.to_string(),
            5 => format!("N{}", at % 3),
            _ => format!("c{at}"),
        };
        let depth = if columns > 50 { 0 } else { 3 };
        element(random, &mut schema, &name, &[], (0, 0), depth);
    }
    schema
}

fn element(random: &mut StdRng, schema: &mut Schema, name: &str, above: &[String], levels: (u32, u32), depth: usize) {
    let path = [above, &[name.to_owned()]].concat();
    let form = if depth == 0 || schema.elements.len() > 3_000 { 0 } else { random.random_range(0..12) };
    match form {
        0..=6 => {
            // Required, optional, or repeated without a list around it.
            let repetition = one(random, &[0, 0, 1, 1, 1, 2]);
            leaf(random, schema, path, repetition, levels);
        }
        7 | 8 => {
            // A list, or a map, as they are written today.
            let outer = random.random_range(0..2);
            let map = form == 8;
            let converted = if map { 1 } else { 3 };
            push_group(schema, name, outer, 1, Some(converted));
            push_group(schema, "list", 2, if map { 2 } else { 1 }, None);
            let levels = (levels.0 + outer as u32 + 1, levels.1 + 1);
            let within = [path, vec!["list".to_owned()]].concat();
            if map {
                leaf(random, schema, [within.clone(), vec!["key".to_owned()]].concat(), 0, levels);
                element(random, schema, "value", &within, levels, depth - 1);
            } else {
                element(random, schema, "element", &within, levels, depth - 1);
            }
        }
        9 => {
            // As deep as it goes.
            let deep = few(random, 120);
            let mut path = above.to_vec();
            for at in 0..deep {
                push_group(schema, &format!("{name}{at}"), 1, 1, None);
                path.push(format!("{name}{at}"));
            }
            element(random, schema, name, &path, (levels.0 + deep as u32, levels.1), depth - 1);
        }
        _ => {
            let repetition = one(random, &[0, 1, 1, 2]);
            let children = few(random, 12);
            push_group(schema, name, repetition, lie32(random, children), None);
            let levels = (levels.0 + u32::from(repetition > 0), levels.1 + u32::from(repetition == 2));
            for at in 0..children {
                element(random, schema, &format!("f{at}"), &path, levels, depth - 1);
            }
        }
    }
}

fn push_group(schema: &mut Schema, name: &str, repetition: i32, children: i32, converted: Option<i32>) {
    let element = Struct::default().i32(3, repetition).bytes(4, name.as_bytes()).i32(5, children);
    schema.elements.push(element.some_i32(6, converted).end());
}

pub(super) fn leaf(random: &mut StdRng, schema: &mut Schema, path: Vec<String>, repetition: i32, levels: (u32, u32)) {
    let kind = one(random, &[BOOLEAN, INT32, INT64, INT64, INT96, FLOAT, DOUBLE, BYTE_ARRAY, BYTE_ARRAY, FIXED]);
    let width = match kind {
        INT32 | FLOAT => 4,
        INT64 | DOUBLE => 8,
        INT96 => 12,
        FIXED => one(random, &[0, 1, 2, 12, 16, 17, 32, 4_096, 1 << 20]),
        _ => 0,
    };
    let converted = match kind {
        INT32 => one(random, &[None, Some(6), Some(7), Some(15), Some(11), Some(5)]),
        INT64 => one(random, &[None, Some(9), Some(10), Some(8), Some(14), Some(5)]),
        BYTE_ARRAY => one(random, &[None, Some(0), Some(0), Some(0), Some(4), Some(19), Some(20), Some(5)]),
        FIXED => one(random, &[None, Some(5), Some(21)]),
        _ => None,
    };
    let decimal = converted == Some(5);
    let (scale, precision) = (few(random, 40) as i32, few(random, 80) as i32);
    let name = path.last().cloned().unwrap_or_default();
    let element = Struct::default()
        .i32(1, kind)
        .some_i32(2, (kind == FIXED).then(|| lie32(random, width)))
        .i32(3, repetition)
        .bytes(4, name.as_bytes())
        .some_i32(6, converted)
        .some_i32(7, decimal.then_some(scale))
        .some_i32(8, decimal.then_some(precision));
    schema.elements.push(element.end());
    let levels = (levels.0 + u32::from(repetition > 0), levels.1 + u32::from(repetition == 2));
    schema.leaves.push(Leaf { path, kind, width, levels });
}

mod transform;
mod warehouse;

#[test] fn x() {}

//! The program: reads its boot document, and passes on what workers may reach.

fn main() {}

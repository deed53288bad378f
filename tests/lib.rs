//! Black-box tests of the program and of its component: see `it/`.

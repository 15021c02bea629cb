//! One client's life, from accept to close.

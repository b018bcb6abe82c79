//! Streams: live, cut and resumed, too late.

//! How Redis is reached: at one address, by sentinels or in a cluster, with or without TLS.

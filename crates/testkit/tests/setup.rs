//! What a setup writes is a configuration that pgweir takes.

#![allow(clippy::unwrap_used, reason = "these are tests, their helpers too")]

use pgweir_testkit::{Certificates, Cluster, Setup};

#[test]
fn the_yaml_of_two_clusters_with_tls_is_valid() {
    let start = |name: &str| {
        let builder =
            Cluster::builder().name(name).databases(["app", name]).users([("app", "it's \"s3cret\"")]);
        builder.start().unwrap()
    };
    let (us, eu) = (start("us"), start("eu"));
    let certificates = Certificates::generate().unwrap();
    let setup =
        Setup::new(&us).cluster(&eu).pool_size(7).pool_mode("session").tls(&certificates, "verify-full");
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    std::fs::write(file.path(), setup.to_yaml()).unwrap();
    let config = config::load(file.path()).unwrap_or_else(|errors| panic!("{errors}\n{}", setup.to_yaml()));
    assert_eq!(config.clusters.len(), 2);
    let mut names: Vec<&str> = config.databases.iter().map(|database| database.name.as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["app", "eu", "us"]);
    assert!(config.users.contains_key("app") && config.users.contains_key("admin"));
    assert_eq!(config.warnings, Vec::<String>::new());
}

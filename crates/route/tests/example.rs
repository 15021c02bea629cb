//! The example configuration of a sharded database, from its YAML to decisions.

use std::path::Path;

use pgweir_route::{self as route, DatabaseMap, Request, SessionRouting};
use sql::{Analyzer, LexSettings};

#[test]
fn the_sharded_example_routes_as_it_says() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/sharded.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let config =
        config::parse_yaml(&text, "sharded.yaml", &|_| Some("secret".into()), file.parent().unwrap())
            .unwrap();
    let database = config.databases.iter().find(|database| database.name == "saas").unwrap();
    let map = DatabaseMap::from_config(&config, database);

    let names: Vec<&str> = map.shard_indexes().map(|shard| map.shard_name(shard)).collect();
    assert_eq!(names, ["us", "eu", "apac"]);
    for shard in map.shard_indexes() {
        let cluster = &config.clusters[usize::from(map.cluster_of(shard).0)];
        assert_eq!(cluster.name, map.shard_name(shard));
        assert_eq!(map.dbname_of(shard), Some("saas"));
        assert_eq!(map.shard_named(map.shard_name(shard)), Some(shard));
    }

    let cases = [
        (
            "SELECT * FROM billing.invoices WHERE region = 'AU'",
            "shard apac, replica: reads only; billing.invoices.region = 'AU'",
        ),
        (
            "INSERT INTO customers (region, name) VALUES ('NO', 'Kari')",
            "shard eu, primary: INSERT writes; customers.region = 'NO'",
        ),
        (
            "UPDATE feature_flags SET enabled = true",
            "shard us, primary: UPDATE writes; feature_flags lives there alone",
        ),
        ("/* pgweir: key=JP */ SELECT count(*) FROM customers", "shard apac, replica: reads only; hint key"),
    ];
    let mut analyzer = Analyzer::new(16);
    for (text, expected) in cases {
        let analysis = analyzer.analyze(text.as_bytes(), LexSettings::default());
        let request = Request {
            facts: analysis.facts,
            sql: text.as_bytes(),
            literals: analysis.literals,
            parameters: None,
            lex: LexSettings::default(),
            catalogs: &[],
        };
        let decision = route::decide(&map, &SessionRouting::default(), &request);
        assert_eq!(route::explain(&map, &decision), expected);
    }
}

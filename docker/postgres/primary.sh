#!/bin/bash
# A region's primary, when its data folder is new: the roles, who may stream from it, and the region's data.
# Run by the image's entrypoint, which may read rather than execute it: nothing of it must outlive its shell.
(
  set -euo pipefail

  echo "host replication replicator all scram-sha-256" >>"$PGDATA/pg_hba.conf"

  psql -v ON_ERROR_STOP=1 -v replication="$REPLICATION_PASSWORD" -v demo="$DEMO_PASSWORD" \
    --username postgres --dbname postgres <<'SQL'
CREATE ROLE replicator LOGIN REPLICATION PASSWORD :'replication';
CREATE ROLE demo LOGIN PASSWORD :'demo';
CREATE DATABASE shop OWNER demo;
CREATE DATABASE saas OWNER demo;
SQL

  load() {
    local database=$1 file=$2
    shift 2
    psql -v ON_ERROR_STOP=1 -q --single-transaction --username postgres --dbname "$database" \
      -c "SET SESSION AUTHORIZATION demo" "$@" -f "/demo/$file"
  }
  case $REGION in
    us)
      load shop shop.sql
      load saas saas.sql -v regions=US,CA,MX -v first_id=1
      ;;
    eu) load saas saas.sql -v regions=DE,FR,ES -v first_id=1000001 ;;
    *)
      echo "REGION is $REGION, not us or eu" >&2
      exit 1
      ;;
  esac
)

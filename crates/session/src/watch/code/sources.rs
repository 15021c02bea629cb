//! The question by which a database tells the sources of its functions, and what runs them.

/// Asks for the sources of a database's functions, and for what calls them or reads what does; for functions of libraries
/// that may keep something in their process; whether anything calls currval or lastval. Rows of a kind, a name and a
/// text. Much more than anybody writes isn't read, nor is it waited for long. The client's planner settings would make it
/// slow; those of one Query's transaction end with it.
///
/// A library of an extension is taken to be made for pools, and a trigger's function only to read what others have set.
pub(crate) const SOURCES: &str = "\
    SET LOCAL statement_timeout = '2s'; SET LOCAL jit = off; SET LOCAL enable_seqscan = on; SET LOCAL enable_indexscan = on; \
    SET LOCAL enable_bitmapscan = on; SET LOCAL enable_nestloop = on; SET LOCAL enable_hashjoin = on; \
    SET LOCAL enable_mergejoin = on; SET LOCAL enable_hashagg = on; SET LOCAL enable_sort = on; \
    SET LOCAL enable_material = on; WITH own AS (SELECT p.oid, p.proname, p.prosrc, l.lanname, pg_catalog.to_jsonb(p)->>'prosqlbody' AS body \
      FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
      WHERE p.oid >= 16384 AND l.lanname NOT IN ('c', 'internal')), \
    big AS (SELECT COALESCE(pg_catalog.sum(pg_catalog.length(prosrc)), 0) > 8000000 AS big FROM own), \
    calls AS (SELECT oid, proname FROM pg_catalog.pg_proc WHERE oid >= 16384), \
    loud AS (SELECT ':(?:funcid|opfuncid) (?:' || pg_catalog.string_agg(oid::pg_catalog.text, '|') || ') ' AS call \
      FROM pg_catalog.pg_proc WHERE oid < 16384 AND (proname = 'set_config' OR proname ~ '^pg_(try_)?advisory_lock')), \
    seeds AS (SELECT ':(?:funcid|opfuncid) (?:' || pg_catalog.string_agg(oid::pg_catalog.text, '|') || ') ' AS call \
      FROM pg_catalog.pg_proc WHERE oid < 16384 AND proname = 'setseed'), \
    trees AS (SELECT ev_class AS rel, ev_action::pg_catalog.text AS tree FROM pg_catalog.pg_rewrite WHERE oid >= 16384 \
      UNION ALL SELECT polrelid, pg_catalog.concat(polqual, ' ', polwithcheck) FROM pg_catalog.pg_policy \
      UNION ALL SELECT adrelid, adbin::pg_catalog.text FROM pg_catalog.pg_attrdef \
      UNION ALL SELECT conrelid, conbin::pg_catalog.text FROM pg_catalog.pg_constraint WHERE conbin IS NOT NULL), \
    named AS (SELECT rel, 'set_config' AS what FROM trees, loud WHERE tree ~ call \
      UNION SELECT rel, 'setseed' FROM trees, seeds WHERE tree ~ call \
      UNION SELECT t.tgrelid, p.proname::pg_catalog.text FROM pg_catalog.pg_trigger t JOIN calls p ON p.oid = t.tgfoid \
      UNION SELECT r.ev_class, p.proname::pg_catalog.text FROM pg_catalog.pg_depend d JOIN calls p ON p.oid = d.refobjid \
        JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid WHERE d.refclassid = 1255 AND d.classid = 2618 \
      UNION SELECT r.ev_class, c.relname::pg_catalog.text FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_class c \
        ON c.oid = d.refobjid JOIN pg_catalog.pg_rewrite r ON r.oid = d.objid AND r.ev_class <> c.oid \
        WHERE d.refclassid = 1259 AND d.classid = 2618 AND r.oid >= 16384 \
      UNION SELECT a.adrelid, p.proname::pg_catalog.text FROM pg_catalog.pg_depend d JOIN calls p ON p.oid = d.refobjid \
        JOIN pg_catalog.pg_attrdef a ON a.oid = d.objid WHERE d.refclassid = 1255 AND d.classid = 2604 \
      UNION SELECT k.conrelid, p.proname::pg_catalog.text FROM pg_catalog.pg_depend d JOIN calls p ON p.oid = d.refobjid \
        JOIN pg_catalog.pg_constraint k ON k.oid = d.objid WHERE d.refclassid = 1255 AND d.classid = 2606 \
      UNION SELECT o.polrelid, p.proname::pg_catalog.text FROM pg_catalog.pg_depend d JOIN calls p ON p.oid = d.refobjid \
        JOIN pg_catalog.pg_policy o ON o.oid = d.objid WHERE d.refclassid = 1255 AND d.classid = 3256 \
      UNION SELECT i.indrelid, p.proname::pg_catalog.text FROM pg_catalog.pg_depend d JOIN calls p ON p.oid = d.refobjid \
        JOIN pg_catalog.pg_index i ON i.indexrelid = d.objid WHERE d.refclassid = 1255 AND d.classid = 1259 \
      UNION SELECT h.inhparent, c.relname::pg_catalog.text FROM pg_catalog.pg_inherits h \
        JOIN pg_catalog.pg_class c ON c.oid = h.inhrelid \
      UNION SELECT k.confrelid, c.relname::pg_catalog.text FROM pg_catalog.pg_constraint k \
        JOIN pg_catalog.pg_class c ON c.oid = k.conrelid WHERE k.contype = 'f'), \
    named_currval AS (SELECT EXISTS (SELECT FROM pg_catalog.pg_proc p WHERE p.oid >= 16384 \
        AND (p.prosrc ~* '[[:<:]](currval|lastval)[[:>:]]' \
        OR p.prolang = 14 AND (pg_catalog.to_jsonb(p)->>'prosqlbody') ~ ':funcid (1575|2559) ')) \
      OR EXISTS (SELECT FROM trees WHERE tree ~ ':funcid (1575|2559) ') AS found) \
    SELECT 'big', NULL, NULL FROM big WHERE big \
    UNION ALL SELECT CASE WHEN lanname IN ('sql', 'plpgsql') THEN 'source' ELSE 'foreign' END, proname, prosrc \
      FROM own, big WHERE NOT big \
    UNION ALL SELECT 'names', c.relname, n.what FROM named n JOIN pg_catalog.pg_class c ON c.oid = n.rel \
    UNION ALL SELECT 'names', o.proname, 'set_config' FROM own o, loud WHERE o.body ~ call \
    UNION ALL SELECT 'names', o.proname, 'setseed' FROM own o, seeds WHERE o.body ~ call \
    UNION ALL SELECT 'names', o.proname, COALESCE(p.proname, c.relname) FROM own o \
      JOIN pg_catalog.pg_depend d ON d.objid = o.oid AND d.classid = 1255 \
      LEFT JOIN calls p ON d.refclassid = 1255 AND p.oid = d.refobjid \
      LEFT JOIN pg_catalog.pg_class c ON d.refclassid = 1259 AND c.oid = d.refobjid WHERE o.body IS NOT NULL \
    UNION ALL SELECT 'names', '*', p.proname FROM calls p WHERE p.oid IN ( \
      SELECT oprcode FROM pg_catalog.pg_operator WHERE oid >= 16384 \
      UNION SELECT castfunc FROM pg_catalog.pg_cast WHERE oid >= 16384 \
      UNION SELECT amproc FROM pg_catalog.pg_amproc WHERE oid >= 16384 \
      UNION SELECT d.refobjid FROM pg_catalog.pg_depend d JOIN pg_catalog.pg_constraint k ON k.oid = d.objid \
        WHERE d.refclassid = 1255 AND d.classid = 2606 AND k.contypid <> 0) \
    UNION ALL SELECT 'names', '!', p.proname FROM calls p JOIN pg_catalog.pg_event_trigger e ON e.evtfoid = p.oid \
    UNION ALL SELECT 'library', p.proname, n.nspname::pg_catalog.text FROM pg_catalog.pg_proc p \
      JOIN pg_catalog.pg_namespace n ON n.oid = p.pronamespace \
      JOIN pg_catalog.pg_language l ON l.oid = p.prolang \
      WHERE p.oid >= 16384 AND l.lanname = 'c' AND p.provolatile = 'v' AND p.prokind = 'f' \
      AND p.prorettype <> 'pg_catalog.trigger'::pg_catalog.regtype AND NOT EXISTS (SELECT FROM pg_catalog.pg_depend d \
      WHERE d.classid = 1255 AND d.objid = p.oid AND d.deptype = 'e') \
    UNION ALL SELECT 'reads', relname, NULL FROM pg_catalog.pg_class \
      WHERE oid >= 16384 AND (relkind = 'v' OR relrowsecurity) \
    UNION ALL SELECT 'currval', NULL, NULL FROM named_currval WHERE found \
    UNION ALL SELECT 'names', a.proname, p.proname FROM pg_catalog.pg_aggregate g \
      JOIN calls a ON a.oid = g.aggfnoid \
      JOIN calls p ON p.oid IN (g.aggtransfn, g.aggfinalfn, g.aggmtransfn, g.aggminvtransfn, g.aggmfinalfn)";

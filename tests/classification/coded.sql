CREATE TABLE log (n serial, what text);
CREATE FUNCTION noting_ok(int) RETURNS bool LANGUAGE sql AS 'INSERT INTO log (what) VALUES (''check'') RETURNING true';
CREATE DOMAIN noted AS int CHECK (noting_ok(VALUE));
CREATE TABLE of_noted (n noted);
CREATE TYPE pair AS (a int, b int);
CREATE FUNCTION as_pair(text) RETURNS pair LANGUAGE plpgsql AS
    'BEGIN INSERT INTO log (what) VALUES (''cast''); RETURN (1, 2); END';
CREATE CAST (text AS pair) WITH FUNCTION as_pair(text) AS ASSIGNMENT;
CREATE VIEW noted_v AS SELECT 1::noted AS n;
GRANT ALL ON ALL TABLES IN SCHEMA public TO app;
GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO app;

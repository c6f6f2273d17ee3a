-- Procedures that mean the same in Redshift and in PostgreSQL 15. A case begins with its name,
-- statements end with a line that is a slash.

-- case: empty body
CREATE PROCEDURE p() AS $$ BEGIN NULL; END $$ LANGUAGE plpgsql
/
CALL p()
/
-- case: in and out
CREATE PROCEDURE p(a int, INOUT b int) AS $$ BEGIN b := a + b; END; $$ LANGUAGE plpgsql
/
CALL p(2, 3)
/
CALL p(NULL, 3)
/
CALL p(1 + 1, abs(-4))
/
-- case: argument without a name
CREATE PROCEDURE p(int, INOUT int) AS $$ BEGIN $2 := $1 * $2; END $$ LANGUAGE plpgsql
/
CALL p(6, 7)
/
-- case: out argument
CREATE PROCEDURE p(IN a int, OUT b int, OUT c varchar(10)) AS $$
BEGIN
  b := a * 2;
  c := 'x' || a;
END
$$ LANGUAGE plpgsql
/
CALL p(21, NULL, NULL)
/
-- case: declared variables
CREATE PROCEDURE p() AS $$
DECLARE
  a int := 1;
  b int DEFAULT a + 1;
  c CONSTANT int := b * 2;
  d varchar(20);
  e int NOT NULL := 5;
BEGIN
  RAISE INFO '% % % % %', a, b, c, d, e;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: not null is kept
CREATE PROCEDURE p() AS $$ DECLARE e int NOT NULL := 5; BEGIN e := NULL; END $$ LANGUAGE plpgsql
/
CALL p()
/
-- case: text too long
CREATE PROCEDURE p() AS $$ DECLARE v varchar(3); BEGIN v := 'abcd'; END $$ LANGUAGE plpgsql
/
CALL p()
/
-- case: bad number
CREATE PROCEDURE p() AS $$ DECLARE v int; BEGIN v := 'abc'; END $$ LANGUAGE plpgsql
/
CALL p()
/
-- case: rounding on assignment
CREATE PROCEDURE p(INOUT a int) AS $$ DECLARE v decimal(10,2) := 2.5; BEGIN a := v; END $$ LANGUAGE plpgsql
/
CALL p(0)
/
-- case: types
CREATE PROCEDURE p() AS $$
DECLARE
  a smallint := 7; b bigint := 9000000000; c decimal(10,3) := 1.5; d real := 0.5;
  e double precision := 2.25; f boolean := true; g char(3) := 'ab'; h date := '2024-02-29';
  i timestamp := '2024-02-29 12:30:00';
BEGIN
  RAISE INFO '% % % % % % [%] % %', a, b, c, d, e, f, g, h, i;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: if and elsif
CREATE PROCEDURE p(a int) AS $$
BEGIN
  IF a > 10 THEN RAISE INFO 'many';
  ELSIF a > 5 THEN RAISE INFO 'some';
  ELSIF a IS NULL THEN RAISE INFO 'none';
  ELSE RAISE INFO 'few';
  END IF;
END
$$ LANGUAGE plpgsql
/
CALL p(11)
/
CALL p(6)
/
CALL p(NULL)
/
CALL p(1)
/
-- case: case with operand
CREATE PROCEDURE p(a int) AS $$
BEGIN
  CASE a
    WHEN 1, 2 THEN RAISE INFO 'one or two';
    WHEN 3 THEN RAISE INFO 'three';
    ELSE RAISE INFO 'other';
  END CASE;
END
$$ LANGUAGE plpgsql
/
CALL p(2)
/
CALL p(3)
/
CALL p(4)
/
-- case: searched case without else
CREATE PROCEDURE p(a int) AS $$
BEGIN
  CASE WHEN a > 1 THEN RAISE INFO 'more'; WHEN a = 1 THEN RAISE INFO 'one'; END CASE;
END
$$ LANGUAGE plpgsql
/
CALL p(2)
/
CALL p(1)
/
CALL p(0)
/
-- case: case expression in a condition
CREATE PROCEDURE p(a int) AS $$
BEGIN
  IF (CASE WHEN a = 1 THEN true ELSE false END) THEN RAISE INFO 'yes'; ELSE RAISE INFO 'no'; END IF;
END
$$ LANGUAGE plpgsql
/
CALL p(1)
/
CALL p(2)
/
-- case: loop with exit
CREATE PROCEDURE p(INOUT n int) AS $$
DECLARE i int := 0;
BEGIN
  LOOP
    i := i + 1;
    EXIT WHEN i * i > n;
  END LOOP;
  n := i;
END
$$ LANGUAGE plpgsql
/
CALL p(50)
/
-- case: while
CREATE PROCEDURE p(INOUT n int) AS $$
DECLARE s int := 0;
BEGIN
  WHILE n > 0 LOOP s := s + n; n := n - 1; END LOOP;
  n := s;
END
$$ LANGUAGE plpgsql
/
CALL p(10)
/
-- case: for integer
CREATE PROCEDURE p() AS $$
BEGIN
  FOR i IN 1..3 LOOP RAISE INFO 'up %', i; END LOOP;
  FOR i IN REVERSE 3..1 LOOP RAISE INFO 'down %', i; END LOOP;
  FOR i IN 1..10 BY 4 LOOP RAISE INFO 'by %', i; END LOOP;
  FOR i IN 3..1 LOOP RAISE INFO 'never %', i; END LOOP;
  RAISE INFO 'found %', FOUND;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: for integer hides a variable
CREATE PROCEDURE p() AS $$
DECLARE i int := 99;
BEGIN
  FOR i IN 1..2 LOOP RAISE INFO '%', i; END LOOP;
  RAISE INFO '%', i;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: for integer with a bad step
CREATE PROCEDURE p() AS $$ BEGIN FOR i IN 1..2 BY 0 LOOP NULL; END LOOP; END $$ LANGUAGE plpgsql
/
CALL p()
/
-- case: for integer with a null bound
CREATE PROCEDURE p(a int) AS $$ BEGIN FOR i IN 1..a LOOP NULL; END LOOP; END $$ LANGUAGE plpgsql
/
CALL p(NULL)
/
-- case: labels
CREATE PROCEDURE p() AS $$
BEGIN
  <<outer>>
  FOR i IN 1..3 LOOP
    <<inner>>
    FOR j IN 1..3 LOOP
      CONTINUE outer WHEN j = 2 AND i = 1;
      EXIT outer WHEN i = 3;
      CONTINUE WHEN j = 1;
      RAISE INFO '% %', i, j;
    END LOOP inner;
  END LOOP outer;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: exit of a block
CREATE PROCEDURE p() AS $$
BEGIN
  <<b>>
  BEGIN
    RAISE INFO 'in';
    EXIT b;
    RAISE INFO 'never';
  END b;
  RAISE INFO 'out';
END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: nested blocks and labelled variables
CREATE PROCEDURE p(x int) AS $$
<<o>>
DECLARE v int := 1;
BEGIN
  DECLARE v int := 2;
  BEGIN
    RAISE INFO '% % %', v, o.v, p.x;
  END;
  RAISE INFO '%', v;
END
$$ LANGUAGE plpgsql
/
CALL p(7)
/
-- case: return
CREATE PROCEDURE p(INOUT a int) AS $$
BEGIN
  a := a + 1;
  IF a > 5 THEN RETURN; END IF;
  a := 100;
END
$$ LANGUAGE plpgsql
/
CALL p(10)
/
CALL p(1)
/
-- case: alias
CREATE PROCEDURE p(a int) AS $$
DECLARE first ALIAS FOR $1; again ALIAS FOR a;
BEGIN RAISE INFO '% %', first, again; END
$$ LANGUAGE plpgsql
/
CALL p(3)
/
-- case: percent in raise
CREATE PROCEDURE p() AS $$ BEGIN RAISE INFO '100%% of %', 'it''s'; END $$ LANGUAGE plpgsql
/
CALL p()
/
-- case: levels
CREATE PROCEDURE p() AS $$
BEGIN
  RAISE NOTICE 'n';
  RAISE WARNING 'w';
  RAISE INFO 'i';
END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: exception
CREATE PROCEDURE p(a int) AS $$ BEGIN RAISE EXCEPTION 'bad value %', a; END $$ LANGUAGE plpgsql
/
CALL p(3)
/
-- case: exception with options
CREATE PROCEDURE p() AS $$
BEGIN
  RAISE EXCEPTION 'told' USING DETAIL = 'the detail', HINT = 'the ' || 'hint', ERRCODE = 'AB123';
END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: raise sqlstate
CREATE PROCEDURE p() AS $$ BEGIN RAISE SQLSTATE '22012'; END $$ LANGUAGE plpgsql
/
CALL p()
/
-- case: division by zero
CREATE PROCEDURE p(a int) AS $$ DECLARE b int; BEGIN b := 10 / a; RAISE INFO '%', b; END $$ LANGUAGE plpgsql
/
CALL p(3)
/
CALL p(0)
/
-- case: select into
CREATE TABLE t (a int, b varchar(10))
/
INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, NULL)
/
CREATE PROCEDURE p(k int) AS $$
DECLARE x int; y varchar(10);
BEGIN
  SELECT a, b INTO x, y FROM t WHERE a = k;
  RAISE INFO '% % %', x, y, FOUND;
END
$$ LANGUAGE plpgsql
/
CALL p(2)
/
CALL p(3)
/
CALL p(9)
/
-- case: select into strict
CREATE TABLE t (a int)
/
INSERT INTO t VALUES (1), (1), (2)
/
CREATE PROCEDURE p(k int) AS $$
DECLARE x int;
BEGIN SELECT a INTO STRICT x FROM t WHERE a = k; RAISE INFO '%', x; END
$$ LANGUAGE plpgsql
/
CALL p(2)
/
CALL p(1)
/
CALL p(5)
/
-- case: select into a record
CREATE TABLE t (a int, b varchar(10))
/
INSERT INTO t VALUES (1, 'one')
/
CREATE PROCEDURE p() AS $$
DECLARE r record;
BEGIN
  SELECT a, b AS name, a + 1 AS next INTO r FROM t;
  RAISE INFO '% % %', r.a, r.name, r.next;
  r.name := 'other';
  RAISE INFO '%', r.name;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: record before its value
CREATE PROCEDURE p() AS $$ DECLARE r record; BEGIN RAISE INFO '%', r.a; END $$ LANGUAGE plpgsql
/
CALL p()
/
-- case: unknown field
CREATE PROCEDURE p() AS $$ DECLARE r record; BEGIN SELECT 1 AS a INTO r; RAISE INFO '%', r.b; END $$ LANGUAGE plpgsql
/
CALL p()
/
-- case: rowtype and type
CREATE TABLE t (a int, b varchar(10))
/
INSERT INTO t VALUES (1, 'one')
/
CREATE PROCEDURE p() AS $$
DECLARE r t%ROWTYPE; v t.b%TYPE := 'v'; w v%TYPE;
BEGIN
  RAISE INFO '% %', r.a, r.b;
  SELECT * INTO r FROM t;
  w := r.b || v;
  RAISE INFO '% % %', r.a, r.b, w;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: for over a query
CREATE TABLE t (a int, b varchar(10))
/
INSERT INTO t VALUES (1, 'one'), (2, 'two'), (3, 'three')
/
CREATE PROCEDURE p(lowest int) AS $$
DECLARE r record; n int := 0;
BEGIN
  FOR r IN SELECT a, b FROM t WHERE a >= lowest ORDER BY a LOOP
    RAISE INFO '% %', r.a, r.b;
    n := n + r.a;
  END LOOP;
  RAISE INFO 'sum % found %', n, FOUND;
END
$$ LANGUAGE plpgsql
/
CALL p(2)
/
CALL p(10)
/
-- case: for over a query into scalars
CREATE TABLE t (a int, b varchar(10))
/
INSERT INTO t VALUES (1, 'one'), (2, 'two')
/
CREATE PROCEDURE p() AS $$
DECLARE x int; y varchar(10);
BEGIN
  FOR x, y IN SELECT a, b FROM t ORDER BY a DESC LOOP RAISE INFO '% %', x, y; END LOOP;
  RAISE INFO 'after % %', x, y;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: loop that changes what it reads
CREATE TABLE t (a int)
/
INSERT INTO t VALUES (1), (2), (3)
/
CREATE PROCEDURE p() AS $$
DECLARE r record;
BEGIN
  FOR r IN SELECT a FROM t LOOP INSERT INTO t VALUES (r.a + 10); END LOOP;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
SELECT a FROM t ORDER BY a
/
-- case: for execute
CREATE TABLE t (a int)
/
INSERT INTO t VALUES (3), (1), (2)
/
CREATE PROCEDURE p(name varchar(20), lowest int) AS $$
DECLARE r record;
BEGIN
  FOR r IN EXECUTE 'SELECT a FROM ' || quote_ident(name) || ' WHERE a >= $1 ORDER BY a' USING lowest LOOP
    RAISE INFO '%', r.a;
  END LOOP;
END
$$ LANGUAGE plpgsql
/
CALL p('t', 2)
/
-- case: execute into using
CREATE TABLE t (a int, b varchar(10))
/
INSERT INTO t VALUES (1, 'one'), (2, 'two')
/
CREATE PROCEDURE p(k int) AS $$
DECLARE v varchar(10); n int;
BEGIN
  EXECUTE 'SELECT b, a FROM t WHERE a = $1' INTO v, n USING k;
  RAISE INFO '% %', v, n;
  EXECUTE 'UPDATE t SET b = $2 WHERE a = $1' USING k, 'new';
  EXECUTE 'SELECT count(*) FROM t WHERE b = ' || quote_literal('new') INTO n;
  RAISE INFO '%', n;
END
$$ LANGUAGE plpgsql
/
CALL p(2)
/
SELECT a, b FROM t ORDER BY a
/
-- case: execute of null
CREATE PROCEDURE p(s varchar(10)) AS $$ BEGIN EXECUTE s; END $$ LANGUAGE plpgsql
/
CALL p(NULL)
/
-- case: execute of an error
CREATE PROCEDURE p() AS $$ BEGIN EXECUTE 'SELECT * FROM no_such_table'; END $$ LANGUAGE plpgsql
/
CALL p()
/
-- case: row count and found
CREATE TABLE t (a int)
/
CREATE PROCEDURE p() AS $$
DECLARE n int;
BEGIN
  INSERT INTO t VALUES (1), (2), (3);
  GET DIAGNOSTICS n = ROW_COUNT;
  RAISE INFO 'inserted % %', n, FOUND;
  UPDATE t SET a = a + 1 WHERE a > 1;
  GET DIAGNOSTICS n := ROW_COUNT;
  RAISE INFO 'updated % %', n, FOUND;
  DELETE FROM t WHERE a > 100;
  GET DIAGNOSTICS n := ROW_COUNT;
  RAISE INFO 'deleted % %', n, FOUND;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: perform
CREATE TABLE t (a int)
/
INSERT INTO t VALUES (1), (2)
/
CREATE PROCEDURE p() AS $$
BEGIN
  PERFORM a FROM t WHERE a > 5;
  RAISE INFO '%', FOUND;
  PERFORM a FROM t;
  RAISE INFO '%', FOUND;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: result without a place
CREATE PROCEDURE p() AS $$ BEGIN SELECT 1; END $$ LANGUAGE plpgsql
/
CALL p()
/
-- case: variables in every statement
CREATE TABLE t (a int, b int, c varchar(10))
/
CREATE PROCEDURE p(v int, w varchar(10)) AS $$
BEGIN
  INSERT INTO t (a, b, c) VALUES (v, v * 2, w);
  INSERT INTO t SELECT v + 1, v, w || '!';
  UPDATE t SET b = b + v WHERE t.a = v;
  DELETE FROM t WHERE c = w || '!';
  CREATE TABLE made AS SELECT v AS x, w AS y, a FROM t;
END
$$ LANGUAGE plpgsql
/
CALL p(4, 'q')
/
SELECT * FROM t
/
SELECT x, y, a FROM made
/
-- case: subqueries with variables
CREATE TABLE t (a int)
/
INSERT INTO t VALUES (1), (2), (3)
/
CREATE PROCEDURE p(v int) AS $$
DECLARE n int;
BEGIN
  n := (SELECT count(*) FROM t WHERE a < v);
  RAISE INFO '%', n;
  IF EXISTS (SELECT 1 FROM t WHERE a = v) THEN RAISE INFO 'there'; END IF;
  SELECT count(*) INTO n FROM (SELECT a + v AS s FROM t) x WHERE x.s > 4;
  RAISE INFO '%', n;
  WITH c AS (SELECT a FROM t WHERE a <> v) SELECT sum(a) INTO n FROM c;
  RAISE INFO '%', n;
END
$$ LANGUAGE plpgsql
/
CALL p(3)
/
-- case: bound cursor
CREATE TABLE t (a int)
/
INSERT INTO t VALUES (1), (2), (3)
/
CREATE PROCEDURE p() AS $$
DECLARE c CURSOR FOR SELECT a FROM t ORDER BY a; v int;
BEGIN
  OPEN c;
  LOOP
    FETCH c INTO v;
    EXIT WHEN NOT FOUND;
    RAISE INFO '%', v;
  END LOOP;
  CLOSE c;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: cursor with arguments
CREATE TABLE t (a int)
/
INSERT INTO t VALUES (1), (2), (3), (4)
/
CREATE PROCEDURE p() AS $$
DECLARE c CURSOR (lo int, hi int) FOR SELECT a FROM t WHERE a BETWEEN lo AND hi ORDER BY a; v int;
BEGIN
  OPEN c(2, 3);
  FETCH NEXT FROM c INTO v;
  RAISE INFO '%', v;
  FETCH c INTO v;
  RAISE INFO '%', v;
  FETCH c INTO v;
  RAISE INFO '% %', v, FOUND;
  CLOSE c;
  FOR r IN c(3, 4) LOOP RAISE INFO 'loop %', r.a; END LOOP;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: unbound cursor
CREATE TABLE t (a int)
/
INSERT INTO t VALUES (1), (2), (3)
/
CREATE PROCEDURE p(lowest int) AS $$
DECLARE c refcursor; v int;
BEGIN
  OPEN c FOR SELECT a FROM t WHERE a >= lowest ORDER BY a;
  MOVE c;
  FETCH c INTO v;
  RAISE INFO '%', v;
  CLOSE c;
  OPEN c FOR EXECUTE 'SELECT a * 10 FROM t ORDER BY a';
  FETCH c INTO v;
  RAISE INFO '%', v;
  CLOSE c;
END
$$ LANGUAGE plpgsql
/
CALL p(2)
/
-- case: cursor opened twice
CREATE PROCEDURE p() AS $$
DECLARE c CURSOR FOR SELECT 1;
BEGIN OPEN c; OPEN c; END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: closed cursor
CREATE PROCEDURE p() AS $$
DECLARE c CURSOR FOR SELECT 1; v int;
BEGIN OPEN c; CLOSE c; FETCH c INTO v; END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: cursor for the caller
CREATE TABLE t (a int)
/
INSERT INTO t VALUES (1), (2)
/
CREATE PROCEDURE p(INOUT c refcursor) AS $$
BEGIN OPEN c FOR SELECT a FROM t ORDER BY a; END
$$ LANGUAGE plpgsql
/
BEGIN
/
CALL p('mine')
/
FETCH ALL FROM mine
/
COMMIT
/
-- case: nested call
CREATE PROCEDURE inner_one(a int, INOUT b int) AS $$ BEGIN b := a * b; END $$ LANGUAGE plpgsql
/
CREATE PROCEDURE p(x int) AS $$
DECLARE y int := 5;
BEGIN
  CALL inner_one(x, y);
  RAISE INFO '%', y;
  CALL inner_one(x + 1, y);
  RAISE INFO '%', y;
END
$$ LANGUAGE plpgsql
/
CALL p(3)
/
-- case: recursion
CREATE PROCEDURE fact(n int, INOUT r bigint) AS $$
BEGIN
  IF n <= 1 THEN r := 1;
  ELSE
    CALL fact(n - 1, r);
    r := r * n;
  END IF;
END
$$ LANGUAGE plpgsql
/
CALL fact(10, 0)
/
-- case: overloads
CREATE PROCEDURE p(a int) AS $$ BEGIN RAISE INFO 'int'; END $$ LANGUAGE plpgsql
/
CREATE PROCEDURE p(a varchar(10)) AS $$ BEGIN RAISE INFO 'text'; END $$ LANGUAGE plpgsql
/
CREATE PROCEDURE p(a int, b int) AS $$ BEGIN RAISE INFO 'two'; END $$ LANGUAGE plpgsql
/
CALL p(1)
/
CALL p('x'::varchar)
/
CALL p(1, 2)
/
CALL p(1, 2, 3)
/
DROP PROCEDURE p(int)
/
DROP PROCEDURE p
/
CALL p('y')
/
-- case: or replace
CREATE PROCEDURE p() AS $$ BEGIN RAISE INFO 'old'; END $$ LANGUAGE plpgsql
/
CREATE PROCEDURE p() AS $$ BEGIN RAISE INFO 'other'; END $$ LANGUAGE plpgsql
/
CREATE OR REPLACE PROCEDURE p() AS $$ BEGIN RAISE INFO 'new'; END $$ LANGUAGE plpgsql
/
CALL p()
/
-- case: drop and rename
CREATE PROCEDURE p(a int) AS $$ BEGIN RAISE INFO '%', a; END $$ LANGUAGE plpgsql
/
ALTER PROCEDURE p(int) RENAME TO q
/
CALL q(1)
/
CALL p(1)
/
DROP PROCEDURE q(a int)
/
DROP PROCEDURE q(int)
/
DROP PROCEDURE IF EXISTS q(int)
/
-- case: commit in a loop
CREATE TABLE t (a int)
/
CREATE PROCEDURE p() AS $$
BEGIN
  FOR i IN 1..6 LOOP
    INSERT INTO t VALUES (i);
    IF i % 2 = 0 THEN COMMIT; ELSE ROLLBACK; END IF;
  END LOOP;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
SELECT a FROM t ORDER BY a
/
-- case: work before a commit stays
CREATE TABLE t (a int)
/
CREATE PROCEDURE p() AS $$
BEGIN
  INSERT INTO t VALUES (1);
  COMMIT;
  INSERT INTO t VALUES (2);
  RAISE EXCEPTION 'stop';
END
$$ LANGUAGE plpgsql
/
CALL p()
/
SELECT a FROM t ORDER BY a
/
-- case: no commit within a block
CREATE TABLE t (a int)
/
CREATE PROCEDURE p() AS $$ BEGIN INSERT INTO t VALUES (1); COMMIT; END $$ LANGUAGE plpgsql
/
BEGIN
/
CALL p()
/
ROLLBACK
/
SELECT a FROM t
/
-- case: commit in a loop over rows
CREATE TABLE t (a int)
/
CREATE TABLE u (a int)
/
INSERT INTO t VALUES (1), (2), (3)
/
CREATE PROCEDURE p() AS $$
DECLARE r record;
BEGIN
  FOR r IN SELECT a FROM t ORDER BY a LOOP
    INSERT INTO u VALUES (r.a * 10);
    COMMIT;
  END LOOP;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
SELECT a FROM u ORDER BY a
/
-- case: an error takes all back
CREATE TABLE t (a int)
/
CREATE PROCEDURE p() AS $$
DECLARE x int;
BEGIN
  INSERT INTO t VALUES (1);
  x := 1 / (x - x + 0);
  x := 1 / 0;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
SELECT count(*) FROM t
/
-- case: nested commit
CREATE TABLE t (a int)
/
CREATE PROCEDURE inner_one(a int) AS $$ BEGIN INSERT INTO t VALUES (a); COMMIT; END $$ LANGUAGE plpgsql
/
CREATE PROCEDURE p() AS $$
BEGIN
  CALL inner_one(1);
  INSERT INTO t VALUES (2);
  ROLLBACK;
  CALL inner_one(3);
END
$$ LANGUAGE plpgsql
/
CALL p()
/
SELECT a FROM t ORDER BY a
/
-- case: ddl in a procedure
CREATE PROCEDURE p(name varchar(20)) AS $$
BEGIN
  EXECUTE 'CREATE TABLE ' || name || ' (a int)';
  EXECUTE 'INSERT INTO ' || name || ' VALUES (1), (2)';
END
$$ LANGUAGE plpgsql
/
CALL p('made')
/
SELECT a FROM made ORDER BY a
/
-- case: rolled back definition
BEGIN
/
CREATE PROCEDURE p() AS $$ BEGIN NULL; END $$ LANGUAGE plpgsql
/
ROLLBACK
/
CALL p()
/
-- case: parse errors
CREATE PROCEDURE p() AS $$ BEGIN x := 1; END $$ LANGUAGE plpgsql
/
CREATE PROCEDURE p() AS $$ BEGIN IF true THEN NULL; END $$ LANGUAGE plpgsql
/
CREATE PROCEDURE p() AS $$ DECLARE a int; a int; BEGIN NULL; END $$ LANGUAGE plpgsql
/
CREATE PROCEDURE p() AS $$ BEGIN RAISE INFO '% %', 1; END $$ LANGUAGE plpgsql
/
CREATE PROCEDURE p() AS $$ DECLARE c CONSTANT int := 1; BEGIN SELECT 1 INTO zz; END $$ LANGUAGE plpgsql
/
CREATE PROCEDURE p() AS $$ BEGIN RETURN 1; END $$ LANGUAGE plpgsql
/
CREATE PROCEDURE p() LANGUAGE plpgsql
/
CREATE PROCEDURE p(a int, a int) AS $$ BEGIN NULL; END $$ LANGUAGE plpgsql
/
CREATE PROCEDURE p() AS $$ BEGIN NULL; END $$ LANGUAGE klingon
/
-- case: comments and quotes
CREATE PROCEDURE p() AS $body$
-- a line; BEGIN
/* a comment /* within */ ; */
DECLARE s varchar(40) := 'semi;colon -- no'; t varchar(40) := $q$it's$q$;
BEGIN
  RAISE INFO '% %', s, t; -- end
END;
$body$ LANGUAGE plpgsql
/
CALL p()
/
-- case: quoted names
CREATE PROCEDURE p("a b" int) AS $$ DECLARE "x y" int := "a b" + 1; BEGIN RAISE INFO '%', "x y"; END $$ LANGUAGE plpgsql
/
CALL p(1)
/
-- case: string functions and nulls
CREATE PROCEDURE p(s varchar(20)) AS $$
BEGIN
  RAISE INFO '% % %', upper(s), length(s), coalesce(s, 'none');
  RAISE INFO '%', 'a' || s;
END
$$ LANGUAGE plpgsql
/
CALL p('abc')
/
CALL p(NULL)
/
-- case: dates
CREATE PROCEDURE p(d date) AS $$
DECLARE n date := '2024-02-29'; t timestamp := d;
BEGIN
  RAISE INFO '% % %', n, t, n > d;
END
$$ LANGUAGE plpgsql
/
CALL p('2024-02-28')
/
-- case: merge rows one by one
CREATE TABLE src (k int, v int)
/
CREATE TABLE dst (k int, v int)
/
INSERT INTO src VALUES (1, 10), (2, 20), (3, 30)
/
INSERT INTO dst VALUES (2, 0)
/
CREATE PROCEDURE p() AS $$
DECLARE r record;
BEGIN
  FOR r IN SELECT k, v FROM src ORDER BY k LOOP
    UPDATE dst SET v = r.v WHERE dst.k = r.k;
    IF NOT FOUND THEN INSERT INTO dst VALUES (r.k, r.v); END IF;
  END LOOP;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
SELECT k, v FROM dst ORDER BY k
/
-- case: sieve
CREATE PROCEDURE p(INOUT n int) AS $$
DECLARE c int := 0; composite boolean;
BEGIN
  FOR i IN 2..n LOOP
    composite := false;
    FOR j IN 2..i - 1 LOOP
      EXIT WHEN j * j > i;
      IF i % j = 0 THEN composite := true; EXIT; END IF;
    END LOOP;
    IF NOT composite THEN c := c + 1; END IF;
  END LOOP;
  n := c;
END
$$ LANGUAGE plpgsql
/
CALL p(60)
/
-- case: fibonacci into a table
CREATE TABLE fib (n int, f bigint)
/
CREATE PROCEDURE p(most int) AS $$
DECLARE a bigint := 0; b bigint := 1; c bigint;
BEGIN
  FOR i IN 1..most LOOP
    INSERT INTO fib VALUES (i, b);
    c := a + b; a := b; b := c;
  END LOOP;
END
$$ LANGUAGE plpgsql
/
CALL p(12)
/
SELECT n, f FROM fib ORDER BY n
/
-- case: security definer
CREATE PROCEDURE p() AS $$ BEGIN RAISE INFO '%', current_user; END $$ LANGUAGE plpgsql SECURITY DEFINER
/
CALL p()
/
-- case: wrong kinds
CALL no_such_procedure()
/
CREATE PROCEDURE p(a int) AS $$ BEGIN NULL; END $$ LANGUAGE plpgsql
/
CALL p('abc')
/
CALL p(NULL)
/
DROP PROCEDURE no_such_procedure()
/
-- case: settings of a procedure
CREATE PROCEDURE p() AS $$ BEGIN RAISE INFO '%', current_setting('application_name'); END $$ LANGUAGE plpgsql SET application_name = 'inside'
/
CALL p()
/
SHOW application_name
/
-- case: drop schema
CREATE SCHEMA other_schema
/
CREATE PROCEDURE other_schema.p() AS $$ BEGIN RAISE INFO 'here'; END $$ LANGUAGE plpgsql
/
CALL other_schema.p()
/
DROP SCHEMA other_schema
/
DROP SCHEMA other_schema CASCADE
/
CALL other_schema.p()
/
-- case: handled error
CREATE PROCEDURE p(a int) NONATOMIC AS $$
BEGIN
  RAISE INFO '%', 10 / a;
EXCEPTION WHEN OTHERS THEN
  RAISE INFO 'caught % %', SQLSTATE, SQLERRM;
END
$$ LANGUAGE plpgsql
/
CALL p(5)
/
CALL p(0)
/
-- case: handlers in handlers
CREATE PROCEDURE p() NONATOMIC AS $$
BEGIN
  BEGIN
    RAISE EXCEPTION 'first';
  EXCEPTION WHEN OTHERS THEN
    RAISE INFO 'in: %', SQLERRM;
    BEGIN
      RAISE EXCEPTION 'second';
    EXCEPTION WHEN OTHERS THEN RAISE INFO 'deeper: %', SQLERRM;
    END;
    RAISE INFO 'again: %', SQLERRM;
    RAISE EXCEPTION 'third after %', SQLERRM;
  END;
EXCEPTION WHEN OTHERS THEN RAISE INFO 'out: %', SQLERRM;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: error raised again
CREATE PROCEDURE p() NONATOMIC AS $$
BEGIN
  BEGIN
    RAISE EXCEPTION 'told' USING DETAIL = 'd', HINT = 'h', ERRCODE = 'AB123';
  EXCEPTION WHEN OTHERS THEN
    RAISE INFO 'seen %', SQLSTATE;
    RAISE;
  END;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: raise again outside of a handler
CREATE PROCEDURE p() NONATOMIC AS $$
BEGIN
  BEGIN RAISE EXCEPTION 'x'; EXCEPTION WHEN OTHERS THEN NULL; END;
  RAISE;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: handler in a loop
CREATE TABLE t (a int)
/
CREATE PROCEDURE p() NONATOMIC AS $$
DECLARE failed int := 0;
BEGIN
  FOR i IN -2..2 LOOP
    BEGIN
      INSERT INTO t VALUES (100 / i);
    EXCEPTION WHEN OTHERS THEN
      failed := failed + 1;
      CONTINUE;
    END;
    RAISE INFO 'done %', i;
  END LOOP;
  RAISE INFO 'failed %', failed;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
SELECT a FROM t ORDER BY a
/
-- case: errors of a called procedure
CREATE PROCEDURE inner_one(a int) NONATOMIC AS $$ BEGIN RAISE INFO '%', 1 / a; END $$ LANGUAGE plpgsql
/
CREATE PROCEDURE p() NONATOMIC AS $$
BEGIN
  CALL inner_one(1);
  CALL inner_one(0);
  RAISE INFO 'never';
EXCEPTION WHEN OTHERS THEN RAISE INFO 'caught %', SQLERRM;
END
$$ LANGUAGE plpgsql
/
CALL p()
/
-- case: sqlstates that handlers see
CREATE TABLE t (a int)
/
INSERT INTO t VALUES (1), (1)
/
CREATE PROCEDURE p(n int) NONATOMIC AS $$
DECLARE v smallint; r record; c refcursor;
BEGIN
  CASE n
    WHEN 1 THEN SELECT a INTO STRICT v FROM t;
    WHEN 2 THEN SELECT a INTO STRICT v FROM t WHERE a = 9;
    WHEN 3 THEN v := 100000;
    WHEN 4 THEN EXECUTE 'SELECT * FROM no_such_table';
    WHEN 5 THEN EXECUTE 'SELEC 1';
    WHEN 6 THEN v := 'abc';
    WHEN 7 THEN EXECUTE 'SELECT no_such_column FROM t' INTO v;
    WHEN 8 THEN FETCH c INTO v;
    WHEN 9 THEN RAISE SQLSTATE '55000';
    WHEN 10 THEN CALL no_such_procedure();
    WHEN 11 THEN RAISE INFO '%', r.a;
  END CASE;
EXCEPTION WHEN OTHERS THEN RAISE INFO '% %', n, SQLSTATE;
END
$$ LANGUAGE plpgsql
/
CALL p(1)
/
CALL p(2)
/
CALL p(3)
/
CALL p(4)
/
CALL p(5)
/
CALL p(6)
/
CALL p(7)
/
CALL p(8)
/
CALL p(9)
/
CALL p(10)
/
CALL p(11)
/
CALL p(12)
/
-- case: variables keep what they had when the error came
CREATE PROCEDURE p(INOUT n int) NONATOMIC AS $$
DECLARE before int := n;
BEGIN
  n := n + 1;
  BEGIN
    n := n + 10;
    n := n / 0;
  EXCEPTION WHEN OTHERS THEN n := n + 100;
  END;
  n := n + before;
END
$$ LANGUAGE plpgsql
/
CALL p(5)
/
-- case: exit and return from a handler
CREATE PROCEDURE p(how varchar(10)) NONATOMIC AS $$
BEGIN
  LOOP
    BEGIN
      RAISE EXCEPTION 'x';
    EXCEPTION WHEN OTHERS THEN
      IF how = 'exit' THEN EXIT; ELSE RETURN; END IF;
    END;
  END LOOP;
  RAISE INFO 'after the loop';
END
$$ LANGUAGE plpgsql
/
CALL p('exit')
/
CALL p('return')
/
-- case: misplaced exit and continue
CREATE PROCEDURE p() AS $$ BEGIN EXIT; END $$ LANGUAGE plpgsql
/
CREATE PROCEDURE p() AS $$ BEGIN CONTINUE; END $$ LANGUAGE plpgsql
/
CREATE PROCEDURE p() AS $$ BEGIN LOOP EXIT nowhere; END LOOP; END $$ LANGUAGE plpgsql
/
CREATE PROCEDURE p() AS $$ <<b>> BEGIN LOOP CONTINUE b; END LOOP; END $$ LANGUAGE plpgsql
/
-- case: queue worked off by cursor and transactions
CREATE TABLE queue (id int, payload varchar(10))
/
CREATE TABLE finished (id int, payload varchar(10))
/
INSERT INTO queue VALUES (1, 'a'), (2, 'b'), (3, 'c'), (4, 'd'), (5, 'e')
/
CREATE PROCEDURE p(most int) AS $$
DECLARE r record; n int := 0;
BEGIN
  FOR r IN SELECT id, payload FROM queue ORDER BY id LOOP
    INSERT INTO finished VALUES (r.id, upper(r.payload));
    DELETE FROM queue WHERE id = r.id;
    n := n + 1;
    IF n % 2 = 0 THEN COMMIT; END IF;
    EXIT WHEN n >= most;
  END LOOP;
  ROLLBACK;
END
$$ LANGUAGE plpgsql
/
CALL p(3)
/
SELECT id FROM queue ORDER BY id
/
SELECT id, payload FROM finished ORDER BY id
/
-- case: nested loops over rows
CREATE TABLE a (x int)
/
CREATE TABLE b (x int, y varchar(5))
/
INSERT INTO a VALUES (1), (2)
/
INSERT INTO b VALUES (1, 'p'), (1, 'q'), (2, 'r')
/
CREATE PROCEDURE p() AS $$
DECLARE o record; i record; line varchar(50);
BEGIN
  FOR o IN SELECT x FROM a ORDER BY x LOOP
    line := o.x || ':';
    FOR i IN SELECT y FROM b WHERE b.x = o.x ORDER BY y LOOP line := line || ' ' || i.y; END LOOP;
    RAISE INFO '%', line;
  END LOOP;
END
$$ LANGUAGE plpgsql
/
CALL p()
/

-- SPDX-License-Identifier: MIT
--
-- A program for `scoot-bench replay` to record: sqlite3 fills tables, indexes, updates, deletes and reads them.
PRAGMA cache_size = -2000;
CREATE TABLE authors (id INTEGER PRIMARY KEY, name TEXT NOT NULL, born INTEGER);
CREATE TABLE books (id INTEGER PRIMARY KEY, author INTEGER NOT NULL, title TEXT NOT NULL, notes TEXT, year INTEGER);
CREATE TABLE loans (book INTEGER, reader TEXT, day INTEGER, returned INTEGER);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300)
INSERT INTO authors SELECT i, 'author ' || (i * 7919 % 1000) || ' of ' || i, 1800 + i % 190 FROM n;
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 3000)
INSERT INTO books SELECT i, 1 + i * 31 % 300, 'title ' || (i * 104729 % 7919), substr(hex(i * 15485863), 1, i % 17) || printf('%.*c', i * 37 % 400, 'n'), 1850 + i % 170 FROM n;
CREATE INDEX books_by_author ON books (author, year);
CREATE INDEX books_by_title ON books (title);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 6000)
INSERT INTO loans SELECT 1 + i * 17 % 3000, 'reader ' || i % 211, i % 365, i % 3 FROM n;
CREATE INDEX loans_by_book ON loans (book);
SELECT a.name, count(*), group_concat(b.title) FROM authors a JOIN books b ON b.author = a.id GROUP BY a.id ORDER BY 2 DESC, 1;
SELECT reader, count(*) c, max(day) FROM loans GROUP BY reader ORDER BY c DESC LIMIT 20;
UPDATE books SET notes = notes || ' (lent ' || (SELECT count(*) FROM loans WHERE book = books.id) || ' times)' WHERE id % 2;
DELETE FROM loans WHERE returned = 1;
DELETE FROM books WHERE year < 1880;
SELECT b.title, l.reader FROM books b JOIN loans l ON l.book = b.id WHERE b.title LIKE '%77%' ORDER BY 1, 2;
CREATE TEMP TABLE wide AS SELECT group_concat(notes, '|') AS everything FROM books GROUP BY author;
SELECT length(everything), substr(everything, 1, 20) FROM wide ORDER BY 1;
DROP TABLE wide;
SELECT count(*), sum(length(notes)) FROM books;
VACUUM;
SELECT author, title, row_number() OVER (PARTITION BY author ORDER BY year, id) FROM books ORDER BY 1, 3;

CREATE TABLE sale (id INTEGER PRIMARY KEY, customer INTEGER, product TEXT, amount REAL);
BEGIN;
WITH RECURSIVE n(i, r) AS (
    SELECT 1, 12345
    UNION ALL SELECT i + 1, (r * 1103515245 + 12345) & 0x7fffffff FROM n WHERE i < 40000
)
INSERT INTO sale SELECT i, (r >> 5) % 5000, printf('product %05d', (r >> 9) % 2000), (r % 10007) / 4.0
FROM n;
COMMIT;
CREATE INDEX sale_customer ON sale (customer, product);
SELECT count(*), sum(amount), min(product), max(product) FROM sale;
SELECT product, count(*), sum(amount) AS total FROM sale GROUP BY product ORDER BY total DESC, product LIMIT 5;
SELECT a.customer, count(*) FROM sale a JOIN sale b ON a.customer = b.customer AND a.product < b.product
GROUP BY a.customer ORDER BY 2 DESC, 1 LIMIT 5;
UPDATE sale SET amount = amount + 1 WHERE product LIKE '%7%';
DELETE FROM sale WHERE customer % 3 = 1;
SELECT count(*), sum(amount) FROM sale;
PRAGMA integrity_check;

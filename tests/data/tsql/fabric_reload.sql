SELECT name FROM sys.schemas WHERE name = N'weir';

SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = N'weir' AND TABLE_NAME = N'watermark_orders';

SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = N'weir' AND TABLE_NAME = N'loaded_file_orders';

SET XACT_ABORT ON;

SELECT DATEDIFF_BIG(second, '19700101', GETUTCDATE());

SELECT s.name, t.name FROM sys.tables AS t INNER JOIN sys.schemas AS s ON t.schema_id = s.schema_id WHERE (s.name = N'weir' AND LEFT(t.name, 6) = N'stage_') OR (s.name = N'gold' AND LEFT(t.name, 9) IN (N'weir_new_', N'weir_old_'));

SELECT DISTINCT [generation] FROM [weir].[loaded_file_orders];

SELECT [target], [table_id], [version], [schema_text], [generation], [run_id], [pending] FROM [weir].[watermark_orders] WHERE [source_table] = N'orders';

SELECT TABLE_NAME FROM INFORMATION_SCHEMA.TABLES WHERE TABLE_SCHEMA = N'gold' AND TABLE_NAME = N'orders';

SELECT name FROM sys.schemas WHERE name = N'gold';

SELECT COLUMN_NAME FROM INFORMATION_SCHEMA.COLUMNS WHERE TABLE_SCHEMA = N'gold' AND TABLE_NAME = N'orders';

ALTER TABLE [gold].[orders] ADD [day] date NULL;

ALTER TABLE [gold].[orders] ADD [it's [b]] "x"] varchar(8000) NULL;

ALTER TABLE [gold].[orders] ADD [flag] bit NULL;

ALTER TABLE [gold].[orders] ADD [tiny] smallint NULL;

ALTER TABLE [gold].[orders] ADD [small] smallint NULL;

ALTER TABLE [gold].[orders] ADD [whole] int NULL;

ALTER TABLE [gold].[orders] ADD [real] real NULL;

ALTER TABLE [gold].[orders] ADD [double] float NULL;

ALTER TABLE [gold].[orders] ADD [amount] decimal(18,4) NULL;

ALTER TABLE [gold].[orders] ADD [at] datetime2(6) NULL;

ALTER TABLE [gold].[orders] ADD [raw] varbinary(8000) NULL;

ALTER TABLE [gold].[orders] ADD [größe] bigint NULL;

CREATE TABLE [weir].[stage_1700087000_00125d92_7a11736a338d1512_0] ([_source] varchar(max) NULL, [_source_position] bigint NULL, [select] varchar(max) NULL);

COPY INTO [weir].[stage_1700087000_00125d92_7a11736a338d1512_0] ([_source] 1, [_source_position] 2, [select] 3) FROM 'https://account.dfs.core.windows.net/lake/tables/orders/day=2026-01-01/old.parquet' WITH (FILE_TYPE = 'PARQUET');

SELECT COUNT_BIG(*) FROM [weir].[stage_1700087000_00125d92_7a11736a338d1512_0];

SELECT SUM(CASE WHEN DATALENGTH([_source]) > 8000 THEN 1 ELSE 0 END), SUM(CASE WHEN DATALENGTH([select]) > 200 THEN 1 ELSE 0 END) FROM [weir].[stage_1700087000_00125d92_7a11736a338d1512_0];

CREATE TABLE [weir].[stage_1700087000_00125d92_7a11736a338d1512_1] ([_source] varchar(max) NULL, [_source_position] bigint NULL, [select] varchar(max) NULL, [it's [b]] "x"] varchar(max) NULL, [flag] bit NULL, [tiny] smallint NULL, [small] smallint NULL, [whole] int NULL, [real] real NULL, [double] float NULL, [amount] decimal(18,4) NULL, [at] datetime2(6) NULL, [raw] varbinary(max) NULL, [größe] bigint NULL);

COPY INTO [weir].[stage_1700087000_00125d92_7a11736a338d1512_1] ([_source] 1, [_source_position] 2, [select] 3, [it's [b]] "x"] 4, [flag] 5, [tiny] 6, [small] 7, [whole] 8, [real] 9, [double] 10, [amount] 11, [at] 12, [raw] 13, [größe] 14) FROM 'https://account.dfs.core.windows.net/lake/tables/orders/day=2026-01-01/a%2520b.parquet' WITH (FILE_TYPE = 'PARQUET');

SELECT COUNT_BIG(*) FROM [weir].[stage_1700087000_00125d92_7a11736a338d1512_1];

SELECT SUM(CASE WHEN DATALENGTH([_source]) > 8000 THEN 1 ELSE 0 END), SUM(CASE WHEN DATALENGTH([select]) > 200 THEN 1 ELSE 0 END), SUM(CASE WHEN DATALENGTH([it's [b]] "x"]) > 8000 THEN 1 ELSE 0 END), SUM(CASE WHEN DATALENGTH([raw]) > 8000 THEN 1 ELSE 0 END) FROM [weir].[stage_1700087000_00125d92_7a11736a338d1512_1];

CREATE TABLE [weir].[stage_1700087000_00125d92_7a11736a338d1512_2] ([_source] varchar(max) NULL, [_source_position] bigint NULL, [select] varchar(max) NULL, [it's [b]] "x"] varchar(max) NULL, [flag] bit NULL, [tiny] smallint NULL, [small] smallint NULL, [whole] int NULL, [real] real NULL, [double] float NULL, [amount] decimal(18,4) NULL, [at] datetime2(6) NULL, [raw] varbinary(max) NULL, [größe] bigint NULL);

COPY INTO [weir].[stage_1700087000_00125d92_7a11736a338d1512_2] ([_source] 1, [_source_position] 2, [select] 3, [it's [b]] "x"] 4, [flag] 5, [tiny] 6, [small] 7, [whole] 8, [real] 9, [double] 10, [amount] 11, [at] 12, [raw] 13, [größe] 14) FROM 'https://account.dfs.core.windows.net/lake/tables/orders/day=2026-01-02/c.parquet' WITH (FILE_TYPE = 'PARQUET');

SELECT COUNT_BIG(*) FROM [weir].[stage_1700087000_00125d92_7a11736a338d1512_2];

SELECT SUM(CASE WHEN DATALENGTH([_source]) > 8000 THEN 1 ELSE 0 END), SUM(CASE WHEN DATALENGTH([select]) > 200 THEN 1 ELSE 0 END), SUM(CASE WHEN DATALENGTH([it's [b]] "x"]) > 8000 THEN 1 ELSE 0 END), SUM(CASE WHEN DATALENGTH([raw]) > 8000 THEN 1 ELSE 0 END) FROM [weir].[stage_1700087000_00125d92_7a11736a338d1512_2];

BEGIN TRANSACTION;

UPDATE [weir].[watermark_orders] SET [table_id] = N't', [version] = 9, [schema_text] = N'{"type":"struct","fields":[{"name":"_source","type":"string","nullable":false,"metadata":{}},{"name":"_source_position","type":"long","nullable":false,"metadata":{}},{"name":"select","type":"string","nullable":true,"metadata":{}},{"name":"day","type":"date","nullable":true,"metadata":{}},{"name":"it''s [b] \"x\"","type":"string","nullable":true,"metadata":{}},{"name":"flag","type":"boolean","nullable":true,"metadata":{}},{"name":"tiny","type":"byte","nullable":true,"metadata":{}},{"name":"small","type":"short","nullable":true,"metadata":{}},{"name":"whole","type":"integer","nullable":true,"metadata":{}},{"name":"real","type":"float","nullable":true,"metadata":{}},{"name":"double","type":"double","nullable":true,"metadata":{}},{"name":"amount","type":"decimal(18,4)","nullable":true,"metadata":{}},{"name":"at","type":"timestamp","nullable":true,"metadata":{}},{"name":"raw","type":"binary","nullable":true,"metadata":{}},{"name":"größe","type":"long","nullable":true,"metadata":{}}]}', [run_id] = N'run/9', [updated_at] = CONVERT(varchar(40), GETUTCDATE(), 126) WHERE [source_table] = N'orders' AND [table_id] = N't' AND [version] = 7 AND [pending] IS NULL;

SELECT [target], [table_id], [version], [schema_text], [generation], [run_id], [pending] FROM [weir].[watermark_orders] WHERE [source_table] = N'orders';

DELETE FROM [gold].[orders] OPTION (LABEL = N'weir run/9');

INSERT INTO [gold].[orders] ([_source], [_source_position], [select], [day], [it's [b]] "x"], [flag], [tiny], [small], [whole], [real], [double], [amount], [at], [raw], [größe]) SELECT CAST([weir_staged].[_source] AS varchar(8000)), [weir_staged].[_source_position], CAST([weir_staged].[select] AS varchar(200)), CAST(N'2026-01-01' AS date), CAST(NULL AS varchar(8000)), CAST(NULL AS bit), CAST(NULL AS smallint), CAST(NULL AS smallint), CAST(NULL AS int), CAST(NULL AS real), CAST(NULL AS float), CAST(NULL AS decimal(18,4)), CAST(NULL AS datetime2(6)), CAST(NULL AS varbinary(8000)), CAST(NULL AS bigint) FROM [weir].[stage_1700087000_00125d92_7a11736a338d1512_0] AS [weir_staged] OPTION (LABEL = N'weir run/9');

INSERT INTO [gold].[orders] ([_source], [_source_position], [select], [day], [it's [b]] "x"], [flag], [tiny], [small], [whole], [real], [double], [amount], [at], [raw], [größe]) SELECT CAST([weir_staged].[_source] AS varchar(8000)), [weir_staged].[_source_position], CAST([weir_staged].[select] AS varchar(200)), CAST(N'2026-01-01' AS date), CAST([weir_staged].[it's [b]] "x"] AS varchar(8000)), [weir_staged].[flag], [weir_staged].[tiny], [weir_staged].[small], [weir_staged].[whole], [weir_staged].[real], [weir_staged].[double], [weir_staged].[amount], [weir_staged].[at], CAST([weir_staged].[raw] AS varbinary(8000)), [weir_staged].[größe] FROM [weir].[stage_1700087000_00125d92_7a11736a338d1512_1] AS [weir_staged] OPTION (LABEL = N'weir run/9');

INSERT INTO [gold].[orders] ([_source], [_source_position], [select], [day], [it's [b]] "x"], [flag], [tiny], [small], [whole], [real], [double], [amount], [at], [raw], [größe]) SELECT CAST([weir_staged].[_source] AS varchar(8000)), [weir_staged].[_source_position], CAST([weir_staged].[select] AS varchar(200)), CAST(N'2026-01-02' AS date), CAST([weir_staged].[it's [b]] "x"] AS varchar(8000)), [weir_staged].[flag], [weir_staged].[tiny], [weir_staged].[small], [weir_staged].[whole], [weir_staged].[real], [weir_staged].[double], [weir_staged].[amount], [weir_staged].[at], CAST([weir_staged].[raw] AS varbinary(8000)), [weir_staged].[größe] FROM [weir].[stage_1700087000_00125d92_7a11736a338d1512_2] AS [weir_staged] OPTION (LABEL = N'weir run/9');

DELETE FROM [weir].[loaded_file_orders] WHERE [source_table] = N'orders' AND [generation] = N'g';

DELETE FROM [weir].[loaded_file_orders] WHERE [source_table] = N'orders' AND [generation] = N'g' AND [path] IN (N'day=2026-01-01/a%20b.parquet', N'day=2026-01-01/old.parquet', N'day=2026-01-02/c.parquet');

INSERT INTO [weir].[loaded_file_orders] ([source_table], [generation], [path]) SELECT N'orders', N'g', N'day=2026-01-01/a%20b.parquet' UNION ALL SELECT N'orders', N'g', N'day=2026-01-01/old.parquet' UNION ALL SELECT N'orders', N'g', N'day=2026-01-02/c.parquet';

COMMIT TRANSACTION;

DROP TABLE [weir].[stage_1700087000_00125d92_7a11736a338d1512_0];

DROP TABLE [weir].[stage_1700087000_00125d92_7a11736a338d1512_1];

DROP TABLE [weir].[stage_1700087000_00125d92_7a11736a338d1512_2];

-- Written by `weir warehouse views`; may be run again. Connect to the serverless endpoint of the workspace, whose
-- managed identity needs Storage Blob Data Reader on the lake.
IF NOT EXISTS (SELECT 1 FROM sys.databases WHERE name = N'we]ir''s')
    CREATE DATABASE [we]]ir's] COLLATE Latin1_General_100_BIN2_UTF8;
GO
USE [we]]ir's];
GO
IF NOT EXISTS (SELECT 1 FROM sys.symmetric_keys WHERE name = N'##MS_DatabaseMasterKey##')
    CREATE MASTER KEY;
GO
IF NOT EXISTS (SELECT 1 FROM sys.database_scoped_credentials WHERE name = N'weir_identity')
    CREATE DATABASE SCOPED CREDENTIAL [weir_identity] WITH IDENTITY = 'Managed Identity';
GO
IF NOT EXISTS (SELECT 1 FROM sys.external_data_sources WHERE name = N'weir_lake')
    CREATE EXTERNAL DATA SOURCE [weir_lake] WITH (LOCATION = N'https://account.dfs.core.windows.net/lake/it''s', CREDENTIAL = [weir_identity]);
GO
CREATE OR ALTER VIEW [dbo].[orders] AS
SELECT * FROM OPENROWSET(
    BULK N'orders', DATA_SOURCE = N'weir_lake', FORMAT = N'DELTA'
) WITH (
    [_source] varchar(8000) COLLATE Latin1_General_100_BIN2_UTF8,
    [_source_position] bigint,
    [select] varchar(8000) COLLATE Latin1_General_100_BIN2_UTF8,
    [day] date,
    [it's [b]] "x"] varchar(8000) COLLATE Latin1_General_100_BIN2_UTF8,
    [flag] bit,
    [tiny] smallint,
    [small] smallint,
    [whole] int,
    [real] real,
    [double] float,
    [amount] decimal(18,4),
    [at] datetime2(6),
    [raw] varbinary(8000),
    [größe] bigint
) AS [rows];
GO
CREATE OR ALTER VIEW [dbo].[o'r]]d] AS
SELECT * FROM OPENROWSET(
    BULK N'o''r]d', DATA_SOURCE = N'weir_lake', FORMAT = N'DELTA'
) WITH (
    [_source] varchar(8000) COLLATE Latin1_General_100_BIN2_UTF8,
    [_source_position] bigint,
    [select] varchar(8000) COLLATE Latin1_General_100_BIN2_UTF8,
    [day] date,
    [it's [b]] "x"] varchar(8000) COLLATE Latin1_General_100_BIN2_UTF8,
    [flag] bit,
    [tiny] smallint,
    [small] smallint,
    [whole] int,
    [real] real,
    [double] float,
    [amount] decimal(18,4),
    [at] datetime2(6),
    [raw] varbinary(8000),
    [größe] bigint
) AS [rows];
GO

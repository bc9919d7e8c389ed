//! Queries: what may stand around expressions.

use sqlparser::ast::{
    Cte, Distinct, Expr, GroupByExpr, Ident, Join, JoinConstraint, JoinOperator, LimitClause, NamedWindowDefinition,
    NamedWindowExpr, OrderBy, OrderByExpr, OrderByKind, Query, Select, SelectFlavor, SelectItem,
    SelectItemQualifiedWildcardKind, SetExpr, TableAlias, TableFactor, TableWithJoins, WildcardAdditionalOptions,
    WindowSpec, WindowType,
};

use super::{Checked, Rows, Shape, Walk, refused};

impl Walk {
    /// A query, and what is known of its rows.
    pub(super) fn query(&mut self, query: &Query) -> Checked<Rows> {
        let Query {
            with,
            body,
            order_by,
            limit_clause,
            fetch,
            locks,
            for_clause,
            settings,
            format_clause,
            pipe_operators,
        } = query;
        let odd = !locks.is_empty() || for_clause.is_some() || settings.is_some() || format_clause.is_some();
        if odd || !pipe_operators.is_empty() {
            return refused("what stands after the query (FOR, SETTINGS, FORMAT or `|>`)");
        }
        self.deeper(|walk| {
            if let Some(with) = with {
                if with.recursive {
                    return refused("WITH RECURSIVE");
                }
                with.cte_tables.iter().try_for_each(|cte| walk.cte(cte))?;
            }
            let outer = (walk.base, walk.copies);
            let rows = walk.body(body)?;
            order_by.iter().try_for_each(|order| walk.order(order))?;
            walk.limits(limit_clause.as_ref(), fetch.as_ref().and_then(|fetch| fetch.quantity.as_ref()))?;
            (walk.base, walk.copies) = outer;
            Ok(rows)
        })
    }

    fn cte(&mut self, cte: &Cte) -> Checked<()> {
        let Cte { alias, query, from, materialized: _, closing_paren_token: _ } = cte;
        if from.is_some() {
            return refused("FROM after a CTE");
        }
        let name = &alias.name.value;
        if self.inputs.contains(name) {
            return Err(format!(
                "has a CTE `{name}`, which is the name of a table that it reads: call it something else"
            ));
        }
        // What it reads counts where it is named.
        let outer = std::mem::take(&mut self.reads);
        let rows = self.query(query)?;
        let reads = std::mem::replace(&mut self.reads, outer);
        self.alias(alias, Rows { reads, ..rows })
    }

    /// A table that the query itself names. A column that it renames may be a text.
    fn alias(&mut self, alias: &TableAlias, rows: Rows) -> Checked<()> {
        let TableAlias { explicit: _, name, columns, at } = alias;
        if at.is_some() {
            return refused("AT after an alias");
        }
        for column in columns {
            self.called(&column.name, Shape { text: true, growth: rows.growth });
        }
        // What comes under an old name may be either.
        let known = self.known.entry(name.value.clone()).or_insert(rows);
        *known = known.max(rows);
        Ok(())
    }

    fn body(&mut self, body: &SetExpr) -> Checked<Rows> {
        self.deeper(|walk| match body {
            SetExpr::Select(select) => walk.select(select),
            SetExpr::Query(query) => walk.query(query),
            SetExpr::SetOperation { left, op: _, set_quantifier: _, right } => {
                let left = walk.body(left)?;
                let right = walk.body(right)?;
                // EXCEPT and INTERSECT have no more than the left: they are counted as UNION is.
                let copies = walk.copied(left.copies.saturating_add(right.copies))?;
                Ok(Rows { copies, ..left.max(right) })
            }
            SetExpr::Values(values) => {
                for row in &values.rows {
                    walk.all(&row.content)?;
                }
                Ok(Rows::PLAIN)
            }
            SetExpr::Table(table) => {
                walk.names.all_columns = true;
                match (&table.table_name, &table.schema_name) {
                    (Some(name), None) => walk.table(name),
                    _ => refused("TABLE with a schema"),
                }
            }
            SetExpr::Insert(_) | SetExpr::Update(_) | SetExpr::Delete(_) | SetExpr::Merge(_) => {
                Err("changes a table: it is a query, and nothing else".to_owned())
            }
        })
    }

    fn select(&mut self, select: &Select) -> Checked<Rows> {
        let Select {
            select_token: _,
            optimizer_hints,
            distinct,
            select_modifiers,
            top,
            top_before_distinct: _,
            projection,
            exclude,
            into,
            from,
            lateral_views,
            prewhere,
            selection,
            connect_by,
            group_by,
            cluster_by,
            distribute_by,
            sort_by,
            having,
            named_window,
            qualify,
            window_before_qualify: _,
            value_table_mode,
            flavor,
        } = select;
        if into.is_some() {
            return Err("writes a table with SELECT INTO: it is a query, and nothing else".to_owned());
        }
        let odd = !optimizer_hints.is_empty() || select_modifiers.is_some() || top.is_some() || exclude.is_some();
        let odd = odd || !lateral_views.is_empty() || prewhere.is_some() || !connect_by.is_empty();
        let odd = odd || !cluster_by.is_empty() || !distribute_by.is_empty() || !sort_by.is_empty();
        if odd || value_table_mode.is_some() || *flavor != SelectFlavor::Standard {
            return refused(
                "this form of SELECT (hints, TOP, INTO, LATERAL VIEW, CONNECT BY, FROM before SELECT and the like)",
            );
        }
        let outer = std::mem::replace(&mut self.copies, 1);
        // Windows first of all: they may be named before they are written.
        for (index, tables) in from.iter().enumerate() {
            self.tables(tables, index > 0)?;
        }
        for NamedWindowDefinition(_, window) in named_window {
            if let NamedWindowExpr::WindowSpec(window) = window {
                self.window(window)?;
            }
        }
        let mut growth = 1;
        for item in projection {
            growth = growth.max(self.item(item)?.growth);
        }
        match distinct {
            Some(Distinct::On(exprs)) => drop(self.all(exprs)?),
            Some(Distinct::Distinct | Distinct::All) | None => {}
        }
        match group_by {
            GroupByExpr::Expressions(exprs, modifiers) if modifiers.is_empty() => drop(self.all(exprs)?),
            GroupByExpr::All(modifiers) if modifiers.is_empty() => {}
            _ => return refused("a modifier of GROUP BY (ROLLUP, CUBE, TOTALS)"),
        }
        for expr in [selection, having, qualify].into_iter().flatten() {
            self.expr(expr)?;
        }
        Ok(Rows { growth, copies: std::mem::replace(&mut self.copies, outer), reads: self.reads })
    }

    fn item(&mut self, item: &SelectItem) -> Checked<Shape> {
        match item {
            SelectItem::UnnamedExpr(expr) => self.expr(expr),
            SelectItem::ExprWithAlias { expr, alias } => {
                let shape = self.expr(expr)?;
                self.called(alias, shape);
                Ok(shape)
            }
            SelectItem::Wildcard(options)
            | SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::ObjectName(_), options) => {
                self.names.all_columns = true;
                self.wildcard(options)
            }
            SelectItem::ExprWithAliases { .. }
            | SelectItem::QualifiedWildcard(SelectItemQualifiedWildcardKind::Expr(_), _) => {
                refused("this item of SELECT")
            }
        }
    }

    fn wildcard(&mut self, options: &WildcardAdditionalOptions) -> Checked<Shape> {
        let WildcardAdditionalOptions {
            wildcard_token: _,
            opt_ilike: _,
            opt_exclude: _,
            opt_except: _,
            opt_replace,
            opt_rename: _,
            opt_alias,
        } = options;
        if opt_alias.is_some() {
            return refused("an alias of `*`");
        }
        let mut shape = Shape { text: true, growth: self.base };
        for item in opt_replace.iter().flat_map(|replace| &replace.items) {
            let replaced = self.expr(&item.expr)?;
            self.called(&item.column_name, replaced);
            shape = shape.max(replaced);
        }
        Ok(shape)
    }

    fn tables(&mut self, tables: &TableWithJoins, after_a_comma: bool) -> Checked<()> {
        self.relation(&tables.relation, after_a_comma)?;
        tables.joins.iter().try_for_each(|join| self.join(join))
    }

    fn join(&mut self, join: &Join) -> Checked<()> {
        use JoinOperator as Op;
        let Join { relation, global, join_operator } = join;
        if *global {
            return refused("GLOBAL before JOIN");
        }
        let constraint = match join_operator {
            Op::Join(constraint) | Op::Inner(constraint) | Op::Left(constraint) | Op::LeftOuter(constraint) => {
                constraint
            }
            Op::Right(constraint) | Op::RightOuter(constraint) | Op::FullOuter(constraint) => constraint,
            Op::Semi(constraint) | Op::LeftSemi(constraint) | Op::RightSemi(constraint) => constraint,
            Op::Anti(constraint) | Op::LeftAnti(constraint) | Op::RightAnti(constraint) => constraint,
            Op::CrossJoin(constraint @ JoinConstraint::None) => constraint,
            _ => return refused("this kind of JOIN"),
        };
        let equal = match constraint {
            JoinConstraint::On(on) => is_equality(on),
            JoinConstraint::Using(_) | JoinConstraint::Natural => true,
            JoinConstraint::None => false,
        };
        self.relation(relation, !equal)?;
        match constraint {
            JoinConstraint::On(on) => drop(self.expr(on)?),
            JoinConstraint::Using(names) => {
                for name in names {
                    let name = self.only(name, "column")?.clone();
                    self.word(&name);
                }
            }
            JoinConstraint::Natural => self.names.all_columns = true,
            JoinConstraint::None => {}
        }
        Ok(())
    }

    /// What stands in FROM. `loose`: every row of it meets every row of what stands before it.
    fn relation(&mut self, relation: &TableFactor, loose: bool) -> Checked<()> {
        self.deeper(|walk| {
            let rows = match relation {
                TableFactor::Table {
                    name,
                    alias,
                    args,
                    with_hints,
                    version,
                    with_ordinality,
                    partitions,
                    json_path,
                    sample,
                    index_hints,
                } => {
                    let shown = super::shortened(&name.to_string());
                    if args.is_some() {
                        return Err(format!("calls `{shown}` in FROM: it reads the tables that the contract names"));
                    }
                    let plain = with_hints.is_empty() && partitions.is_empty() && index_hints.is_empty();
                    let plain = plain && version.is_none() && json_path.is_none() && sample.is_none();
                    if !plain || *with_ordinality {
                        return refused(format!("what stands after the table `{shown}`"));
                    }
                    let name = &walk.only(name, "table")?.value;
                    let rows = walk.table(name)?;
                    if loose {
                        let input = walk.inputs.contains(name).then(|| name.clone());
                        walk.names.loose.push(input);
                    }
                    alias.iter().try_for_each(|alias| walk.alias(alias, rows))?;
                    rows
                }
                TableFactor::Derived { lateral: false, subquery, alias, sample: None } => {
                    let rows = walk.query(subquery)?;
                    if loose {
                        walk.names.loose.push(None);
                    }
                    alias.iter().try_for_each(|alias| walk.alias(alias, rows))?;
                    rows
                }
                TableFactor::UNNEST {
                    alias,
                    array_exprs,
                    with_offset: false,
                    with_offset_alias: None,
                    with_ordinality: false,
                } => {
                    let growth = walk.all(array_exprs)?.growth.max(1);
                    // Every row meets every item.
                    let rows = Rows { growth, copies: array_exprs.iter().map(items).max().unwrap_or(1), reads: 0 };
                    if let Some(alias) = alias {
                        walk.called(&alias.name, Shape { text: true, growth });
                        walk.alias(alias, rows)?;
                    }
                    rows
                }
                TableFactor::NestedJoin { table_with_joins, alias } => {
                    walk.tables(table_with_joins, loose)?;
                    // Its tables are counted already.
                    let rows = Rows { growth: walk.base, ..Rows::PLAIN };
                    let whole = Rows { copies: walk.copies, ..rows };
                    alias.iter().try_for_each(|alias| walk.alias(alias, whole))?;
                    rows
                }
                TableFactor::Derived { .. } => return refused("LATERAL or SAMPLE in FROM"),
                TableFactor::UNNEST { .. } => return refused("WITH OFFSET or WITH ORDINALITY after UNNEST"),
                _ => return Err("calls a function in FROM: it reads the tables that the contract names".to_owned()),
            };
            walk.base = walk.base.max(rows.growth);
            walk.copies = walk.copied(walk.copies.saturating_mul(rows.copies))?;
            Ok(())
        })
    }

    fn limits(&mut self, limit: Option<&LimitClause>, fetch: Option<&Expr>) -> Checked<()> {
        let exprs = match limit {
            None => [None, None],
            Some(LimitClause::OffsetCommaLimit { offset, limit }) => [Some(offset), Some(limit)],
            Some(LimitClause::LimitOffset { limit, offset, limit_by }) if limit_by.is_empty() => {
                [limit.as_ref(), offset.as_ref().map(|offset| &offset.value)]
            }
            Some(LimitClause::LimitOffset { .. }) => return refused("LIMIT … BY"),
        };
        exprs.into_iter().flatten().chain(fetch).try_for_each(|expr| self.expr(expr).map(drop))
    }

    fn order(&mut self, order: &OrderBy) -> Checked<()> {
        match (&order.kind, &order.interpolate) {
            (OrderByKind::All(_), None) => Ok(()),
            (OrderByKind::Expressions(exprs), None) => self.ordered(exprs),
            _ => refused("INTERPOLATE"),
        }
    }

    pub(super) fn ordered(&mut self, exprs: &[OrderByExpr]) -> Checked<()> {
        for OrderByExpr { expr, options: _, with_fill } in exprs {
            if with_fill.is_some() {
                return refused("WITH FILL");
            }
            self.expr(expr)?;
        }
        Ok(())
    }

    pub(super) fn over(&mut self, window: &WindowType) -> Checked<()> {
        match window {
            WindowType::WindowSpec(window) => self.window(window),
            WindowType::NamedWindow(_) => Ok(()),
        }
    }

    fn window(&mut self, window: &WindowSpec) -> Checked<()> {
        use sqlparser::ast::WindowFrameBound::{Following, Preceding};
        let WindowSpec { window_name: _, partition_by, order_by, window_frame } = window;
        self.all(partition_by)?;
        self.ordered(order_by)?;
        let bounds = window_frame.iter().flat_map(|frame| [Some(&frame.start_bound), frame.end_bound.as_ref()]);
        for bound in bounds.flatten() {
            if let Preceding(Some(expr)) | Following(Some(expr)) = bound {
                self.expr(expr)?;
            }
        }
        Ok(())
    }

    pub(super) fn compound(&mut self, parts: &[Ident]) -> Checked<Shape> {
        match parts {
            [table, column] => {
                self.word(table);
                Ok(self.column(column))
            }
            _ => refused("a name of more than two parts"),
        }
    }
}

/// Items of an array that is written out.
fn items(array: &Expr) -> u64 {
    match array {
        Expr::Nested(inner) => items(inner),
        Expr::Array(array) => array.elem.len().max(1) as u64,
        _ => 1,
    }
}

/// Whether a condition has rows meet by equal values, and not all of them.
fn is_equality(on: &Expr) -> bool {
    use sqlparser::ast::BinaryOperator::{And, Eq, Spaceship};
    match on {
        Expr::Nested(inner) => is_equality(inner),
        Expr::BinaryOp { left, op: And, right } => is_equality(left) || is_equality(right),
        Expr::BinaryOp { left, op: Eq | Spaceship, right } => {
            !matches!((&**left, &**right), (Expr::Value(_), _) | (_, Expr::Value(_)))
        }
        _ => false,
    }
}

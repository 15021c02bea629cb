"""SQLAlchemy over psycopg 3, both in their default settings: what a session keeps, by 20 clients."""

import sqlalchemy as sa
from sqlalchemy import orm

from clients import CLIENTS, SHARED_LOCK, TURNS, URL, Alone, equal, patiently, run_threads, zone

# A connection for each client, one for each ORM session at work.
engine = sa.create_engine(URL.replace("postgresql:", "postgresql+psycopg:"), pool_size=2 * CLIENTS, max_overflow=0)


class Base(orm.DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"
    driver: orm.Mapped[str] = orm.mapped_column(primary_key=True)
    client: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    n: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    note: orm.Mapped[str | None]


def item(number, n, note):
    return Item(driver="sqlalchemy", client=number, n=n, note=note)


def own(number):
    return sa.and_(Item.driver == "sqlalchemy", Item.client == number)


def notes(session, number):
    return list(session.scalars(sa.select(Item.note).where(own(number)).order_by(Item.n)))


def sqlstate(error):
    return getattr(getattr(error, "orig", None), "sqlstate", None)


def value(connection, text, **parameters):
    return connection.scalar(sa.text(text), parameters)


def transactions(_connection, number):
    with orm.Session(engine) as session, session.begin():
        session.execute(sa.delete(Item).where(own(number)))
    for turn in range(TURNS):
        with orm.Session(engine) as session:
            session.add(item(number, turn, f"kept {turn}"))
            session.commit()
            session.add(item(number, 100 + turn, "undone"))
            session.flush()
            session.rollback()
            equal(notes(session, number), [f"kept {n}" for n in range(turn + 1)])


def savepoints(_connection, number):
    with orm.Session(engine) as session, session.begin():
        session.execute(sa.delete(Item).where(own(number)))
        for turn in range(TURNS):
            session.add(item(number, 2 * turn, f"kept {turn}"))
            with session.begin_nested() as nested:
                session.add(item(number, 2 * turn + 1, "undone"))
                session.flush()
                nested.rollback()
            try:
                with session.begin_nested():
                    session.execute(sa.insert(Item).values(driver="sqlalchemy", client=number, n=2 * turn))
            except sa.exc.IntegrityError as error:
                equal(sqlstate(error), "23505")
        equal(notes(session, number), [f"kept {n}" for n in range(TURNS)])


def prepared(connection, number):
    # psycopg prepares what it runs the sixth time.
    for turn in range(3 * TURNS):
        selected = value(connection, "select cast(:turn as int) * 1000 + n from fixed where n = :n", turn=turn, n=2)
        equal(selected, turn * 1000 + 2)
        equal(connection.scalar(sa.select(sa.literal(f"{number}/{turn}"))), f"{number}/{turn}")
        if turn % 5 == 4:
            connection.commit()
        if turn % 10 == 9:
            try:
                value(connection, "select 1 / cast(:zero as int)", zero=0)
            except sa.exc.DataError as error:
                equal(sqlstate(error), "22012")
            connection.rollback()


def settings(connection, number):
    value(connection, "select set_config('app.client', :value, false)", value=f"client {number}")
    connection.execute(sa.text(f"set TimeZone = '{zone(number)}'"))
    connection.execute(sa.text(f"set statement_timeout = {100_001 + number}"))
    connection.commit()
    for turn in range(TURNS):
        equal(value(connection, "select current_setting('app.client')"), f"client {number}")
        equal(value(connection, "show TimeZone"), zone(number))
        connection.execute(sa.text("set app.client = 'undone'"))
        connection.execute(sa.text("set local statement_timeout = 0"))
        equal(value(connection, "show app.client"), "undone")
        connection.rollback()
        equal(value(connection, "show statement_timeout"), f"{100_001 + number}ms")
        connection.commit()
    connection.execute(sa.text("reset all"))
    connection.commit()
    equal(value(connection, "select coalesce(current_setting('app.client', true), '')"), "")
    connection.commit()


def tied(connection, text, **parameters):
    def once():
        try:
            result = connection.execute(sa.text(text), parameters)
            return result.scalar() if result.returns_rows else None
        except sa.exc.DBAPIError:
            connection.rollback()
            raise

    return patiently(once, sqlstate)


def advisory_locks(connection, number):
    for _ in range(2):
        tied(connection, "select pg_advisory_lock(:key)::text", key=SHARED_LOCK)
        connection.commit()
        with Alone():
            equal(value(connection, "select pg_try_advisory_lock(:key)", key=SHARED_LOCK), True)
            equal(value(connection, "select pg_advisory_unlock(:key)", key=SHARED_LOCK), True)
            connection.rollback()
            if number == 0:
                with engine.connect() as other:
                    equal(value(other, "select pg_try_advisory_xact_lock(:key)", key=SHARED_LOCK), False)
        equal(value(connection, "select pg_advisory_unlock(:key)", key=SHARED_LOCK), True)
        connection.commit()


def temp_tables(connection, number):
    mine = sa.Table(
        "mine", sa.MetaData(), sa.Column("n", sa.Integer), sa.Column("who", sa.Text), prefixes=["TEMPORARY"]
    )

    def create():
        try:
            mine.create(connection)
        except sa.exc.DBAPIError:
            connection.rollback()
            raise

    patiently(create, sqlstate)
    connection.commit()
    connection.execute(sa.insert(mine), [{"n": n, "who": f"client {number}"} for n in range(TURNS)])
    connection.commit()
    rows = connection.execute(sa.select(mine.c.who, sa.func.count()).group_by(mine.c.who)).all()
    equal([tuple(row) for row in rows], [(f"client {number}", TURNS)])
    mine.drop(connection)
    connection.commit()
    equal(sa.inspect(connection).has_table("mine"), False)
    connection.commit()


def server_side_cursors(connection, number):
    query = sa.text("select n + :number from generate_series(1, 500) n")
    rows = connection.execute(query, {"number": number}, execution_options={"yield_per": 70})
    equal(sum(rows.scalars()), 500 * 501 // 2 + 500 * number)
    connection.commit()


PHASES = [transactions, savepoints, prepared, settings, advisory_locks, temp_tables, server_side_cursors]
run_threads(lambda _number: engine.connect(), lambda connection: connection.close(), PHASES)

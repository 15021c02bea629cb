"""SQLAlchemy (over psycopg 3) through pgweir: Core, ORM and reflection as its users know them."""

from concurrent.futures import ThreadPoolExecutor

import psycopg
import sqlalchemy as sa
from sqlalchemy import orm

from checks import CLIENTS, PRIMARY, SLEEPS, check, equal, raises, run

engine = sa.create_engine(
    "postgresql+psycopg://", pool_size=CLIENTS, max_overflow=0, connect_args={"channel_binding": "require"}
)


class Base(orm.DeclarativeBase):
    pass


class Owner(Base):
    __tablename__ = "sqlalchemy_owners"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(unique=True)
    things: orm.Mapped[list["Thing"]] = orm.relationship(back_populates="owner", order_by="Thing.id")


class Thing(Base):
    __tablename__ = "sqlalchemy_things"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    owner_id: orm.Mapped[int] = orm.mapped_column(sa.ForeignKey(Owner.id))
    label: orm.Mapped[str | None]
    data: orm.Mapped[bytes | None]
    owner: orm.Mapped[Owner] = orm.relationship(back_populates="things")


def session():
    return orm.Session(engine)


def count(session, kind):
    return session.scalar(sa.select(sa.func.count()).select_from(kind))


@check
def schema():
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        columns = {column["name"] for column in sa.inspect(connection).get_columns("sqlalchemy_things")}
        equal(columns, {"id", "owner_id", "label", "data"})
        keys = sa.inspect(connection).get_foreign_keys("sqlalchemy_things")
        equal(keys[0]["referred_table"], "sqlalchemy_owners")


@check
def inserts():
    with session() as s, s.begin():
        ada = Owner(name="Ada", things=[Thing(label=f"thing {n}") for n in range(2500)])
        s.add(ada)
        s.flush()
        equal(len({thing.id for thing in ada.things}), 2500)
    with session() as s, s.begin():
        ada = s.scalars(sa.select(Owner).options(orm.selectinload(Owner.things))).one()
        equal([thing.label for thing in ada.things][2499], "thing 2499")
        names = s.execute(sa.insert(Owner).returning(Owner.name), [{"name": "Bob"}, {"name": "Cy"}]).scalars()
        equal(sorted(names), ["Bob", "Cy"])


@check
def transactions():
    with session() as s:
        s.add(Owner(name="undone"))
        s.flush()
        equal(count(s, Owner), 4)
        s.rollback()
        equal(count(s, Owner), 3)
        s.add(Owner(name="Dan"))
        s.commit()
        equal(count(s, Owner), 4)
    with engine.connect().execution_options(isolation_level="SERIALIZABLE") as connection:
        equal(connection.scalar(sa.text("show transaction_isolation")), "serializable")
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(sa.text("insert into sqlalchemy_owners (name) values ('Eve')"))
        connection.execute(sa.text("vacuum sqlalchemy_owners"))


@check
def reads_go_to_the_replica():
    with engine.connect().execution_options(postgresql_readonly=True) as connection:
        equal(connection.scalars(sa.text("select n from fixed order by n")).all(), [1, 2, 3])
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        equal(connection.scalars(sa.text("select n from fixed order by n")).all(), [1, 2, 3])
        equal(connection.execute(sa.text("show pgweir.route")).one().role, "replica")


@check
def savepoints():
    with session() as s, s.begin():
        s.add(Owner(name="kept"))
        with s.begin_nested() as nested:
            s.add(Owner(name="undone"))
            s.flush()
            nested.rollback()
        try:
            with s.begin_nested():
                s.add(Owner(name="kept"))
        except sa.exc.IntegrityError as error:
            equal(error.orig.sqlstate, "23505")
        s.add(Owner(name="kept too"))
    with session() as s, s.begin():
        names = s.scalars(sa.select(Owner.name).where(Owner.name.in_(["kept", "undone", "kept too"])))
        equal(sorted(names), ["kept", "kept too"])


@check
def errors_leave_the_connection_usable():
    with engine.connect() as connection:
        insert = sa.insert(Owner).values(name="Ada")
        for _ in range(8):
            error = raises(sa.exc.IntegrityError, lambda: connection.execute(insert))
            equal(error.orig.sqlstate, "23505")
            connection.rollback()
            equal(connection.scalar(sa.select(sa.literal(5))), 5)
            connection.rollback()
        raises(sa.exc.ProgrammingError, lambda: connection.execute(sa.text("selec 1")))
        connection.rollback()


@check
def prepared():
    prepares = sa.create_engine("postgresql+psycopg://", connect_args={"prepare_threshold": 0})
    with prepares.connect() as connection:
        for n in range(30):
            statement = sa.select(Owner.name).where(Owner.name == sa.bindparam("name"))
            equal(connection.scalar(statement, {"name": "Ada"}), "Ada")
            if n % 3 == 0:
                connection.commit()
    prepares.dispose()


@check
def server_side_cursor():
    with engine.connect() as connection:
        rows = connection.execution_options(yield_per=100).execute(sa.text("select n from generate_series(1, 3000) n"))
        equal(sum(rows.scalars()), 3000 * 3001 // 2)


@check
def values():
    data = bytes(range(256)) * 4096
    with session() as s, s.begin():
        ada = s.scalars(sa.select(Owner).where(Owner.name == "Ada")).one()
        thing = Thing(owner=ada, label=None, data=data)
        s.add(thing)
        s.flush()
        s.expire(thing)
        equal((thing.label, thing.data == data), (None, True))


@check
def cancel():
    # SQLAlchemy has no cancel of its own: the driver's is at hand below it.
    with engine.connect() as connection, psycopg.connect(autocommit=True) as watcher:
        def cancel_it():
            while watcher.execute(SLEEPS.format("sqlalchemy sleeps")).fetchone()[0] == 0:
                pass
            connection.connection.driver_connection.cancel_safe(timeout=30)

        with ThreadPoolExecutor(1) as executor:
            cancelled = executor.submit(cancel_it)
            query = sa.text("select pg_sleep(600) -- sqlalchemy sleeps")
            error = raises(sa.exc.OperationalError, lambda: connection.execute(query))
            equal(error.orig.sqlstate, "57014")
            cancelled.result()
        connection.rollback()
        equal(connection.scalar(sa.text("select 1")), 1)


@check
def concurrency():
    def client(number):
        for turn in range(10):
            with session() as s, s.begin():
                nonce = f"client {number} turn {turn}"
                equal(s.scalar(sa.select(sa.literal(nonce))), nonce)
                s.add(Owner(name=nonce))

    with ThreadPoolExecutor(CLIENTS) as executor:
        list(executor.map(client, range(CLIENTS)))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        names = PRIMARY + "select count(*) from sqlalchemy_owners where name like 'client%%'"
        equal(connection.exec_driver_sql(names).scalar(), CLIENTS * 10)
    with session() as s, s.begin():
        equal(s.scalar(sa.select(sa.func.count()).where(Owner.name.like("client%"))), CLIENTS * 10)


run()

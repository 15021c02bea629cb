"""SQLAlchemy over psycopg 3 in its default transactions: requests that mostly read. Says what it saw, for comparison."""

import sys

import sqlalchemy as sa
from sqlalchemy import orm

engine = sa.create_engine(sys.argv[1].replace("postgresql:", "postgresql+psycopg:"))


class Base(orm.DeclarativeBase):
    pass


class Item(Base):
    __tablename__ = "items"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    v: orm.Mapped[str]
    n: orm.Mapped[int]


def request(turn):
    with orm.Session(engine) as session:
        yield session.scalar(sa.select(sa.func.sum(Item.n)))
        yield session.get(Item, turn % 5 + 1).v
        with session.begin_nested():
            yield list(session.scalars(sa.select(Item.v).where(Item.n > turn).order_by(Item.id)))
        if turn % 4 == 3:
            item = session.get(Item, turn % 5 + 1)
            item.n += turn
            session.add(Item(id=100 + turn, v=f"new {turn}", n=turn))
            session.flush()
            yield session.scalar(sa.select(sa.func.sum(Item.n)))
            try:
                with session.begin_nested():
                    session.execute(sa.insert(Item).values(id=1, v="twice", n=0))
            except sa.exc.IntegrityError as error:
                yield error.orig.sqlstate
        if turn % 8 == 7:
            session.rollback()
            yield session.scalar(sa.select(sa.func.count()).select_from(Item))
        session.commit()


for turn in range(40):
    print(turn, *request(turn))

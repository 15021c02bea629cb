# ActiveRecord in its default settings (prepared statements on): what a session keeps, by 20 clients. It is given a URL
# and their number, and tells `ok PHASE` when all clients are through with it, at the same time.
require 'logger'
require 'active_record'

URL, CLIENTS = ARGV[0], Integer(ARGV[1])
TURNS = 10
SHARED_LOCK = 77
ZONES = %w[Asia/Tokyo America/New_York UTC Europe/Paris].freeze

ActiveRecord::Base.establish_connection("#{URL}?pool=#{CLIENTS + 1}")

class Note < ActiveRecord::Base
  validates :text, presence: true
  scope :of, ->(client) { where(client: client).order(:n) }
end

class Fixed < ActiveRecord::Base
  self.table_name = 'fixed'
end

def equal(found, expected)
  raise "found #{found.inspect}, expected #{expected.inspect}" if found != expected
end

def connection = ActiveRecord::Base.connection
def value(sql, *binds) = connection.select_value(ActiveRecord::Base.sanitize_sql_array([sql, *binds]))
def kept(count) = Array.new(count) { |n| "kept #{n}" }

# A place among the sessions that are tied to a connection is waited for, as an application would.
def patiently
  yield
rescue ActiveRecord::StatementInvalid => e
  raise unless e.cause.is_a?(PG::TooManyConnections)

  sleep 0.03
  retry
end

def fails(kind)
  yield
rescue kind
  nil
else
  raise "no #{kind}"
end

def transactions(client)
  Note.of(client).delete_all
  TURNS.times do |turn|
    Note.create!(client: client, n: turn, text: "kept #{turn}")
    Note.transaction do
      Note.create!(client: client, n: 100 + turn, text: 'undone')
      raise ActiveRecord::Rollback
    end
    Note.transaction(isolation: :repeatable_read) { equal(Note.of(client).pluck(:text), kept(turn + 1)) }
  end
end

def savepoints(client)
  Note.transaction do
    Note.of(client).delete_all
    TURNS.times do |turn|
      Note.create!(client: client, n: 2 * turn, text: "kept #{turn}")
      Note.transaction(requires_new: true) do
        Note.create!(client: client, n: 2 * turn + 1, text: 'undone')
        raise ActiveRecord::Rollback
      end
      fails(ActiveRecord::RecordNotUnique) do
        Note.transaction(requires_new: true) { Note.create!(client: client, n: 2 * turn, text: 'again') }
      end
    end
    equal(Note.of(client).pluck(:text), kept(TURNS))
  end
end

def prepared(client)
  (3 * TURNS).times do |turn|
    equal(Fixed.where(n: 1 + turn % 3).pluck(:n), [1 + turn % 3])
    equal(Fixed.where('n > ?', 0).where(n: [1, 2]).order(:n).pluck(:n), [1, 2])
    bind = ActiveRecord::Relation::QueryAttribute.new('n', turn, ActiveRecord::Type::Integer.new)
    equal(connection.exec_query('select $1::int * 1000 as n', 'SQL', [bind], prepare: true).rows, [[turn * 1000]])
    next unless turn % 5 == 4

    fails(ActiveRecord::StatementInvalid) do
      Note.transaction do
        equal(Fixed.find_by(n: 3).n, 3)
        value('select 1 / ?', 0)
      end
    end
    equal(Fixed.find_by(n: 3).n, 3)
  end
  Note.transaction { equal(value("select count(*) > 0 from pg_prepared_statements where name ~ '^a[0-9]+$'"), true) }
end

def settings(client)
  # ActiveRecord has set its own when it connected: client_min_messages, standard_conforming_strings, TimeZone.
  zone = ZONES[client % ZONES.size]
  connection.execute("set app.client = 'client #{client}'")
  value("select set_config('TimeZone', ?, false)", zone)
  connection.execute("set statement_timeout = #{100_001 + client}")
  TURNS.times do
    equal(value("select current_setting('app.client')"), "client #{client}")
    equal(value('show TimeZone'), zone)
    equal(value('show client_min_messages'), 'warning')
    Note.transaction do
      connection.execute("set app.client = 'undone'")
      connection.execute('set local statement_timeout = 0')
      equal(value('show app.client'), 'undone')
      raise ActiveRecord::Rollback
    end
    equal(value('show statement_timeout'), "#{100_001 + client}ms")
  end
  # DISCARD ALL, and its own settings again.
  connection.reset!
  equal(value("select coalesce(current_setting('app.client', true), '')"), '')
  equal(value('show client_min_messages'), 'warning')
end

LISTENING = Queue.new

def listen(client)
  raw = connection.raw_connection
  connection.execute("listen ruby_#{client}")
  connection.execute('listen ruby_all')
  LISTENING << client
  sleep 0.01 until LISTENING.size == CLIENTS
  connection.execute("notify ruby_#{(client + 1) % CLIENTS}, 'from #{client}'")
  value("select pg_notify('ruby_all', ?)::text", client.to_s)
  own = []
  everyones = {}
  until own.any? && everyones.size == CLIENTS
    heard = raw.wait_for_notify(20) do |channel, _pid, payload|
      channel == 'ruby_all' ? everyones[payload] = true : own << payload
    end
    raise "heard #{own} and #{everyones.keys}" unless heard
  end
  equal(own, ["from #{(client - 1) % CLIENTS}"])
  connection.execute('unlisten *')
end

INSIDE = []

def advisory_locks(client)
  2.times do
    # What migrations take: pg_try_advisory_lock.
    patiently { sleep 0.01 until connection.get_advisory_lock(SHARED_LOCK) }
    equal(INSIDE.push(client).size, 1)
    other_is_refused if client.zero?
    INSIDE.pop
    equal(connection.release_advisory_lock(SHARED_LOCK), true)
  end
end

def other_is_refused
  other = PG.connect(URL)
  equal(other.exec("select pg_try_advisory_xact_lock(#{SHARED_LOCK})").getvalue(0, 0), 'f')
  other.close
end

def temp_tables(client)
  patiently { connection.create_table(:mine, temporary: true, id: false) { |t| t.integer(:n) && t.text(:who) } }
  TURNS.times { |turn| connection.execute("insert into mine values (#{turn}, 'client #{client}')") }
  equal(connection.select_rows('select who, count(*) from mine group by who'), [["client #{client}", TURNS]])
  connection.drop_table(:mine)
  equal(value("select to_regclass('mine')::text"), nil)
end

def server_side_cursors(client)
  sum = 0
  Note.transaction do
    connection.execute("declare c cursor for select n + #{client} as n from generate_series(1, 500) n")
    until (rows = connection.select_values('fetch 70 from c')).empty?
      sum += rows.sum
    end
  end
  equal(sum, 500 * 501 / 2 + 500 * client)
end

ActiveRecord::Schema.verbose = false
ActiveRecord::Schema.define do
  create_table :notes, force: true do |t|
    t.integer :client, null: false
    t.integer :n, null: false
    t.text :text
    t.timestamps
    t.index %i[client n], unique: true
  end
end
ActiveRecord::Base.connection_pool.release_connection

PHASES = %i[transactions savepoints prepared settings listen advisory_locks temp_tables server_side_cursors].freeze
queues = Array.new(CLIENTS) { Queue.new }
outcomes = Queue.new
threads = queues.each_with_index.map do |queue, client|
  # A thread keeps its connection until it ends.
  Thread.new do
    while (phase = queue.pop) != :end
      outcomes << begin
        send(phase, client)
        nil
      rescue StandardError => e
        e
      end
    end
    ActiveRecord::Base.connection_pool.release_connection
  end
end
well = PHASES.map do |phase|
  queues.each { |queue| queue << phase }
  errors = Array.new(CLIENTS) { outcomes.pop }.compact
  puts "#{errors.empty? ? 'ok' : 'failed'} #{phase}"
  warn errors.first.full_message(highlight: false) if errors.any?
  errors.empty?
end
queues.each { |queue| queue << :end }
threads.each(&:join)
ActiveRecord::Base.connection_pool.disconnect!
exit(well.all?)

// Package checks holds what the two Go programs share: all checks, over what a library can do.
package checks

import (
	"bytes"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	batch      = 100
	partitions = 3
	day        = 24 * time.Hour
)

// Base is the time of record 0: not so old that retention would take it.
var Base = time.UnixMilli(time.Now().Add(-time.Hour).UnixMilli())

// Record is what a record is given, and what has to come back.
type Record struct {
	Partition int32
	Offset    int64
	Key       []byte
	Value     []byte
	Headers   [][2]string
	Time      time.Time
}

// NewRecord makes record i; its offset is the library's to fill.
func NewRecord(i int) Record {
	return Record{
		Partition: int32(i % partitions),
		Key:       fmt.Appendf(nil, "key-%d", i%17),
		Value:     fmt.Appendf(nil, "value-%d%s", i, strings.Repeat(".", 100)),
		Headers:   [][2]string{{"index", strconv.Itoa(i)}, {"empty", ""}},
		Time:      Base.Add(time.Duration(i) * time.Millisecond),
	}
}

// Setting is one setting of a topic; Own says that it was set for this topic, else it is the default.
type Setting struct {
	Value string
	Own   bool
}

// How a batch is produced.
type How struct {
	Codec      string
	Acks       int
	Idempotent bool
}

// Protocol of a group.
type Protocol int

// The two protocols.
const (
	Classic Protocol = iota
	KIP848
)

// Library is what the checks need of a client library.
type Library interface {
	CreateTopic(topic string, partitions int, settings map[string]string) error
	TopicExists(err error) bool
	DeleteTopics(topics ...string) error
	Topics() ([]string, error)
	// Leaders has the leader of each partition.
	Leaders(topic string) (map[int32]int32, error)
	Settings(topic string) (map[string]Setting, error)
	SetSetting(topic, name, value string) error
	CreatePartitions(topic string, total int) error
	Produce(topic string, records []Record, how How) error
	// Consume reads all partitions from the beginning until so many records came, or some time has passed.
	Consume(topic string, count int) ([]Record, error)
	FirstOffset(topic string, partition int32) (int64, error)
	EndOffset(topic string, partition int32) (int64, error)
	// OffsetAt is the offset by a time, or -1.
	OffsetAt(topic string, partition int32, at time.Time) (int64, error)
	DeleteRecords(topic string, partition int32, before int64) error
	// Join starts a member on goroutines of its own, which tells the tracker what happens to it. The function that it
	// returns commits and leaves.
	Join(group, topic string, protocol Protocol, tracker *Tracker) (leave func() error, err error)
	Groups() ([]string, error)
	Describe(group string, protocol Protocol) (state string, members int, err error)
	Committed(group, topic string) (map[int32]int64, error)
	DeleteGroup(group string) error
	NotEmpty(err error) bool
}

// Tracker is what is known of one member.
type Tracker struct {
	lock       sync.Mutex
	seen       []int
	partitions map[int32]bool
	err        error
	leave      func() error
}

// Saw says that the member got a record with this value.
func (t *Tracker) Saw(value []byte) {
	text, _, _ := strings.Cut(strings.TrimPrefix(string(value), "value-"), ".")
	i, err := strconv.Atoi(text)
	t.lock.Lock()
	defer t.lock.Unlock()
	t.seen = append(t.seen, i)
	if err != nil {
		t.err = err
	}
}

// Assigned says that the member has these partitions too, Lost that it no longer has them.
func (t *Tracker) Assigned(partitions []int32) {
	t.lock.Lock()
	defer t.lock.Unlock()
	for _, p := range partitions {
		t.partitions[p] = true
	}
}

// Lost is the contrary of Assigned.
func (t *Tracker) Lost(partitions []int32) {
	t.lock.Lock()
	defer t.lock.Unlock()
	for _, p := range partitions {
		delete(t.partitions, p)
	}
}

// Failed says that the member cannot go on.
func (t *Tracker) Failed(err error) {
	t.lock.Lock()
	defer t.lock.Unlock()
	t.err = err
}

func (t *Tracker) snapshot() ([]int, []int32, error) {
	t.lock.Lock()
	defer t.lock.Unlock()
	var has []int32
	for p := range t.partitions {
		has = append(has, p)
	}
	slices.Sort(has)
	return slices.Clone(t.seen), has, t.err
}

type suite struct {
	library Library
	name    string
	failed  bool
}

func (s *suite) check(name string, run func() error) {
	began := time.Now()
	if err := run(); err != nil {
		s.failed = true
		fmt.Printf("FAIL %s: %s\n", name, strings.ReplaceAll(err.Error(), "\n", " "))
		return
	}
	fmt.Printf("PASS %s (%.1f s)\n", name, time.Since(began).Seconds())
}

func equal(found, wanted any, what string) error {
	if reflect.DeepEqual(found, wanted) {
		return nil
	}
	return fmt.Errorf("%s: %v, not %v", what, found, wanted)
}

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func wait(what string, limit time.Duration, done func() (bool, error)) error {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok, err := done(); ok || err != nil {
			return err
		}
	}
	return fmt.Errorf("not within %v: %s", limit, what)
}

// eventually runs the check again for some seconds where it fails: what a controller decided, a broker learns later.
func eventually(check func() error) error {
	end := time.Now().Add(10 * time.Second)
	for {
		err := check()
		if err == nil || time.Now().After(end) {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func of(partition int32, count int) int64 {
	n := int64(0)
	for i := range count {
		if int32(i%partitions) == partition {
			n++
		}
	}
	return n
}

func (s *suite) produce(topic string, from, count int, how How) error {
	var records []Record
	for i := from; i < from+count; i++ {
		records = append(records, NewRecord(i))
	}
	return s.library.Produce(topic, records, how)
}

// Run does all checks and ends the program.
func Run(name string, library Library, protocols ...Protocol) {
	s := &suite{library: library, name: name}
	topic := name + "-records"
	s.topic(topic)
	s.records(topic)
	topics := []string{topic}
	for _, protocol := range protocols {
		prefix, group := "", name+"-group"
		if protocol == KIP848 {
			prefix, group = "kip848-", name+"-kip848"
		}
		topics = append(topics, group)
		s.group(prefix, group, protocol)
	}
	s.check("delete-topic", func() error {
		if err := library.DeleteTopics(topics...); err != nil {
			return err
		}
		return eventually(func() error {
			found, err := library.Topics()
			if slices.ContainsFunc(found, func(t string) bool { return slices.Contains(topics, t) }) {
				return fmt.Errorf("still in the list: %v", found)
			}
			return err
		})
	})
	if s.failed {
		os.Exit(1)
	}
}

func (s *suite) topic(topic string) {
	l := s.library
	s.check("create-topic", func() error {
		create := func() error { return l.CreateTopic(topic, 2, map[string]string{"retention.ms": "86400000"}) }
		if err := create(); err != nil {
			return err
		}
		if err := create(); !l.TopicExists(err) {
			return fmt.Errorf("creating it again: %v", err)
		}
		return nil
	})
	s.check("describe-topic", func() error {
		return eventually(func() error {
			found, err := l.Topics()
			if err != nil || !slices.Contains(found, topic) {
				return fmt.Errorf("not in the list: %v", err)
			}
			leaders, err := l.Leaders(topic)
			if len(leaders) != 2 || leaders[0] < 0 || leaders[1] < 0 {
				return fmt.Errorf("leaders: %v, %v", leaders, err)
			}
			return err
		})
	})
	s.check("describe-configs", func() error {
		found, err := l.Settings(topic)
		return first(err, equal(found["retention.ms"], Setting{"86400000", true}, "retention.ms"),
			equal(found["cleanup.policy"], Setting{"delete", false}, "cleanup.policy"))
	})
	s.check("alter-config", func() error {
		if err := first(l.SetSetting(topic, "retention.ms", "172800000"), l.SetSetting(topic, "segment.bytes", "10485760")); err != nil {
			return err
		}
		return eventually(func() error {
			found, err := l.Settings(topic)
			return first(err, equal(found["retention.ms"].Value, "172800000", "retention.ms"),
				equal(found["segment.bytes"].Value, "10485760", "segment.bytes"))
		})
	})
	s.check("create-partitions", func() error {
		if err := l.CreatePartitions(topic, partitions); err != nil {
			return err
		}
		return eventually(func() error {
			leaders, err := l.Leaders(topic)
			return first(err, equal(len(leaders), partitions, "partitions"))
		})
	})
}

func (s *suite) records(topic string) {
	l := s.library
	produced := 0
	produce := func(check string, how How) {
		s.check("produce-"+check, func() error {
			err := s.produce(topic, produced, batch, how)
			if err == nil {
				produced += batch
			}
			return err
		})
	}
	for _, codec := range []string{"none", "gzip", "snappy", "lz4", "zstd"} {
		produce(codec, How{Codec: codec, Acks: -1})
	}
	produce("acks-1", How{Codec: "none", Acks: 1})
	produce("acks-0", How{Codec: "none", Acks: 0})
	produce("idempotent", How{Codec: "none", Acks: -1, Idempotent: true})
	s.check("consume", func() error {
		found, err := l.Consume(topic, produced)
		if err != nil {
			return err
		}
		next := make([]int64, partitions)
		for _, record := range found {
			i := int(next[record.Partition])*partitions + int(record.Partition)
			wanted := NewRecord(i)
			wanted.Offset = next[record.Partition]
			next[record.Partition]++
			same := record.Partition == wanted.Partition && record.Offset == wanted.Offset && record.Time.Equal(wanted.Time) &&
				bytes.Equal(record.Key, wanted.Key) && bytes.Equal(record.Value, wanted.Value) && reflect.DeepEqual(record.Headers, wanted.Headers)
			if !same {
				return fmt.Errorf("record %d: %+v, not %+v", i, record, wanted)
			}
		}
		return equal(len(found), produced, "records")
	})
	s.check("offsets", func() error {
		for p := range int32(partitions) {
			start, err := l.FirstOffset(topic, p)
			end, errEnd := l.EndOffset(topic, p)
			if err := first(err, errEnd, equal(start, int64(0), "first offset"), equal(end, of(p, produced), "end offset")); err != nil {
				return err
			}
		}
		byTime, err := l.OffsetAt(topic, 1, NewRecord(151).Time)
		toCome, errToCome := l.OffsetAt(topic, 1, Base.Add(10*day))
		return first(err, errToCome, equal(byTime, int64(50), "offset of record 151 by its time"),
			equal(toCome, int64(-1), "offset by a time to come"))
	})
	s.check("delete-records", func() error {
		err := l.DeleteRecords(topic, 0, 10)
		start, errStart := l.FirstOffset(topic, 0)
		return first(err, errStart, equal(start, int64(10), "first offset"))
	})
}

func numbers(from, to int) []int {
	var all []int
	for i := from; i < to; i++ {
		all = append(all, i)
	}
	return all
}

func (s *suite) group(prefix, group string, protocol Protocol) {
	l := s.library
	all := []int32{0, 1, 2}
	var members []*Tracker
	how := How{Codec: "none", Acks: -1}
	join := func() (*Tracker, error) {
		tracker := &Tracker{partitions: map[int32]bool{}}
		leave, err := l.Join(group, group, protocol, tracker)
		tracker.leave = leave
		return tracker, err
	}
	waitSeen := func(count int) error {
		var found []int
		err := wait(fmt.Sprintf("%d records seen", count), 30*time.Second, func() (bool, error) {
			found = nil
			for _, member := range members {
				seen, _, err := member.snapshot()
				if err != nil {
					return false, err
				}
				found = append(found, seen...)
			}
			slices.Sort(found)
			found = slices.Compact(found)
			return len(found) >= count, nil
		})
		if err != nil {
			return fmt.Errorf("%w; %d were", err, len(found))
		}
		return equal(found, numbers(0, count), "records seen")
	}
	s.check(prefix+"group-join", func() error {
		if err := first(l.CreateTopic(group, partitions, nil), s.produce(group, 0, 150, how)); err != nil {
			return err
		}
		member, err := join()
		if err != nil {
			return err
		}
		members = append(members, member)
		return first(wait("all partitions to the only member", 30*time.Second, func() (bool, error) {
			_, has, err := member.snapshot()
			return slices.Equal(has, all), err
		}), waitSeen(150))
	})
	if len(members) == 0 {
		return
	}
	s.check(prefix+"group-rebalance", func() error {
		member, err := join()
		if err != nil {
			return err
		}
		members = append(members, member)
		return first(wait("both have partitions", 40*time.Second, func() (bool, error) {
			_, a, errA := members[0].snapshot()
			_, b, errB := members[1].snapshot()
			both := append(slices.Clone(a), b...)
			slices.Sort(both)
			return len(a) > 0 && len(b) > 0 && slices.Equal(both, all), first(errA, errB)
		}), s.produce(group, 150, 150, how), waitSeen(300))
	})
	s.check(prefix+"list-groups", func() error {
		found, err := l.Groups()
		if err == nil && !slices.Contains(found, group) {
			return fmt.Errorf("not in the list: %v", found)
		}
		return err
	})
	s.check(prefix+"describe-group", func() error {
		state, count, err := l.Describe(group, protocol)
		return first(err, equal(state, "Stable", "state"), equal(count, 2, "members"))
	})
	s.check(prefix+"group-leave", func() error {
		if len(members) < 2 {
			return fmt.Errorf("there was no second member")
		}
		if err := members[1].leave(); err != nil {
			return err
		}
		return first(wait("all partitions to the one that is left", 40*time.Second, func() (bool, error) {
			_, has, err := members[0].snapshot()
			return slices.Equal(has, all), err
		}), s.produce(group, 300, 150, how), waitSeen(450))
	})
	s.check(prefix+"commit", func() error {
		if err := members[0].leave(); err != nil {
			return err
		}
		found, err := l.Committed(group, group)
		return first(err, equal(found, map[int32]int64{0: 150, 1: 150, 2: 150}, "committed offsets"))
	})
	s.check(prefix+"resume", func() error {
		if err := s.produce(group, 450, 50, how); err != nil {
			return err
		}
		member, err := join()
		if err != nil {
			return err
		}
		var seen []int
		err = wait("50 records", 30*time.Second, func() (bool, error) {
			var err error
			seen, _, err = member.snapshot()
			return len(seen) >= 50, err
		})
		slices.Sort(seen)
		err = first(err, equal(seen, numbers(450, 500), "records after the commit"))
		if err == nil {
			if refused := l.DeleteGroup(group); !l.NotEmpty(refused) {
				err = fmt.Errorf("deleting a group with a member: %v", refused)
			}
		}
		return first(err, member.leave())
	})
	s.check(prefix+"delete-group", func() error {
		if err := l.DeleteGroup(group); err != nil {
			return err
		}
		found, err := l.Groups()
		if slices.Contains(found, group) {
			return fmt.Errorf("the group is still in the list")
		}
		return err
	})
}

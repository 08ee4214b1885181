// franz-go: `franz HOST:PORT`.
package main

import (
	"context"
	"errors"
	"os"
	"time"

	"clientcheck/checks"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

type franz struct {
	address string
	admin   *kadm.Client
}

func limit() context.Context {
	// Ends with the program at the latest: what is left of it harms nobody.
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	context.AfterFunc(ctx, cancel)
	return ctx
}

func (f *franz) client(options ...kgo.Opt) (*kgo.Client, error) {
	return kgo.NewClient(append(options, kgo.SeedBrokers(f.address))...)
}

func (f *franz) CreateTopic(topic string, partitions int, settings map[string]string) error {
	values := map[string]*string{}
	for name, value := range settings {
		values[name] = &value
	}
	_, err := f.admin.CreateTopic(limit(), int32(partitions), 1, values, topic)
	return err
}

func (f *franz) TopicExists(err error) bool { return errors.Is(err, kerr.TopicAlreadyExists) }

func (f *franz) DeleteTopics(topics ...string) error {
	found, err := f.admin.DeleteTopics(limit(), topics...)
	if err != nil {
		return err
	}
	return found.Error()
}

func (f *franz) Topics() ([]string, error) {
	found, err := f.admin.ListTopics(limit())
	return found.Names(), err
}

func (f *franz) Leaders(topic string) (map[int32]int32, error) {
	found, err := f.admin.ListTopics(limit(), topic)
	leaders := map[int32]int32{}
	for p, detail := range found[topic].Partitions {
		leaders[p] = detail.Leader
	}
	return leaders, err
}

func (f *franz) Settings(topic string) (map[string]checks.Setting, error) {
	found, err := f.admin.DescribeTopicConfigs(limit(), topic)
	if err != nil {
		return nil, err
	}
	resource, err := found.On(topic, nil)
	settings := map[string]checks.Setting{}
	for _, entry := range resource.Configs {
		settings[entry.Key] = checks.Setting{Value: entry.MaybeValue(), Own: entry.Source == kmsg.ConfigSourceDynamicTopicConfig}
	}
	return settings, errors.Join(err, resource.Err)
}

func (f *franz) SetSetting(topic, name, value string) error {
	found, err := f.admin.AlterTopicConfigs(limit(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: name, Value: &value}}, topic)
	for _, answer := range found {
		err = errors.Join(err, answer.Err)
	}
	return err
}

func (f *franz) CreatePartitions(topic string, total int) error {
	found, err := f.admin.UpdatePartitions(limit(), total, topic)
	if err != nil {
		return err
	}
	return found.Error()
}

func (f *franz) Produce(topic string, records []checks.Record, how checks.How) error {
	codecs := map[string]kgo.CompressionCodec{"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
		"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression()}
	acks := map[int]kgo.Acks{-1: kgo.AllISRAcks(), 1: kgo.LeaderAck(), 0: kgo.NoAck()}
	options := []kgo.Opt{kgo.ProducerBatchCompression(codecs[how.Codec]), kgo.RequiredAcks(acks[how.Acks]),
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(20 * time.Millisecond)}
	if !how.Idempotent {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	client, err := f.client(options...)
	if err != nil {
		return err
	}
	defer client.Close()
	var wire []*kgo.Record
	for _, r := range records {
		record := &kgo.Record{Topic: topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Timestamp: r.Time}
		for _, header := range r.Headers {
			record.Headers = append(record.Headers, kgo.RecordHeader{Key: header[0], Value: []byte(header[1])})
		}
		wire = append(wire, record)
	}
	return client.ProduceSync(limit(), wire...).FirstErr()
}

func (f *franz) Consume(topic string, count int) ([]checks.Record, error) {
	from := map[int32]kgo.Offset{}
	for p := range int32(3) {
		from[p] = kgo.NewOffset().At(0)
	}
	client, err := f.client(kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	var found []checks.Record
	for ctx := limit(); len(found) < count; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return found, err
		}
		fetches.EachRecord(func(r *kgo.Record) {
			record := checks.Record{Partition: r.Partition, Offset: r.Offset, Key: r.Key, Value: r.Value, Time: r.Timestamp}
			for _, header := range r.Headers {
				record.Headers = append(record.Headers, [2]string{header.Key, string(header.Value)})
			}
			found = append(found, record)
		})
	}
	return found, nil
}

func one(found kadm.ListedOffsets, err error, topic string, partition int32) (int64, error) {
	offset, _ := found.Lookup(topic, partition)
	return offset.Offset, errors.Join(err, offset.Err)
}

func (f *franz) FirstOffset(topic string, partition int32) (int64, error) {
	found, err := f.admin.ListStartOffsets(limit(), topic)
	return one(found, err, topic, partition)
}

func (f *franz) EndOffset(topic string, partition int32) (int64, error) {
	found, err := f.admin.ListEndOffsets(limit(), topic)
	return one(found, err, topic, partition)
}

func (f *franz) OffsetAt(topic string, partition int32, at time.Time) (int64, error) {
	found, err := f.admin.ListOffsetsAfterMilli(limit(), at.UnixMilli(), topic)
	offset, _ := found.Lookup(topic, partition)
	if offset.Timestamp == -1 {
		// The library gives the end where the broker knows of no such record.
		return -1, errors.Join(err, offset.Err)
	}
	return offset.Offset, errors.Join(err, offset.Err)
}

func (f *franz) DeleteRecords(topic string, partition int32, before int64) error {
	offsets := kadm.Offsets{}
	offsets.AddOffset(topic, partition, before, -1)
	found, err := f.admin.DeleteRecords(limit(), offsets)
	if err != nil {
		return err
	}
	return found.Error()
}

func (f *franz) Join(group, topic string, protocol checks.Protocol, tracker *checks.Tracker) (func() error, error) {
	lost := func(_ context.Context, _ *kgo.Client, gone map[string][]int32) { tracker.Lost(gone[topic]) }
	options := []kgo.Opt{kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, has map[string][]int32) { tracker.Assigned(has[topic]) }),
		kgo.OnPartitionsRevoked(lost), kgo.OnPartitionsLost(lost)}
	if protocol == checks.KIP848 {
		options = append(options, kgo.ServerSideBalancer(), kgo.Balancers(kgo.StickyBalancer()))
	} else {
		options = append(options, kgo.HeartbeatInterval(500*time.Millisecond), kgo.SessionTimeout(10*time.Second))
	}
	client, err := f.client(options...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			fetches := client.PollFetches(ctx)
			if err := fetches.Err(); err != nil && !errors.Is(err, context.Canceled) {
				tracker.Failed(err)
				return
			}
			fetches.EachRecord(func(r *kgo.Record) { tracker.Saw(r.Value) })
		}
	}()
	return func() error {
		cancel()
		<-ended
		err := client.CommitUncommittedOffsets(limit())
		client.Close()
		return err
	}, nil
}

func (f *franz) Groups() ([]string, error) {
	found, err := f.admin.ListGroups(limit())
	return found.Groups(), err
}

func (f *franz) Describe(group string, protocol checks.Protocol) (string, int, error) {
	if protocol == checks.KIP848 {
		found, err := f.admin.DescribeConsumerGroups(limit(), group)
		return found[group].State, len(found[group].Members), errors.Join(err, found[group].Err)
	}
	found, err := f.admin.DescribeGroups(limit(), group)
	return found[group].State, len(found[group].Members), errors.Join(err, found[group].Err)
}

func (f *franz) Committed(group, topic string) (map[int32]int64, error) {
	found, err := f.admin.FetchOffsets(limit(), group)
	offsets := map[int32]int64{}
	for p, offset := range found[topic] {
		offsets[p] = offset.At
		err = errors.Join(err, offset.Err)
	}
	return offsets, err
}

func (f *franz) DeleteGroup(group string) error {
	_, err := f.admin.DeleteGroup(limit(), group)
	return err
}

func (f *franz) NotEmpty(err error) bool { return errors.Is(err, kerr.NonEmptyGroup) }

func main() {
	f := &franz{address: os.Args[1]}
	client, err := f.client()
	if err != nil {
		panic(err)
	}
	f.admin = kadm.NewClient(client)
	checks.Run("franz-go", f, checks.Classic, checks.KIP848)
}

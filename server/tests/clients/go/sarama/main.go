// sarama: `sarama HOST:PORT`.
package main

import (
	"context"
	"errors"
	"os"
	"time"

	"clientcheck/checks"

	"github.com/IBM/sarama"
)

type library struct {
	address []string
	client  sarama.Client
	admin   sarama.ClusterAdmin
}

func config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.MaxVersion
	config.Metadata.Full = true
	return config
}

func (l *library) CreateTopic(topic string, partitions int, settings map[string]string) error {
	detail := &sarama.TopicDetail{NumPartitions: int32(partitions), ReplicationFactor: 1, ConfigEntries: map[string]*string{}}
	for name, value := range settings {
		detail.ConfigEntries[name] = &value
	}
	return l.admin.CreateTopic(topic, detail, false)
}

func (l *library) TopicExists(err error) bool { return errors.Is(err, sarama.ErrTopicAlreadyExists) }

func (l *library) DeleteTopics(topics ...string) error {
	for _, topic := range topics {
		if err := l.admin.DeleteTopic(topic); err != nil {
			return err
		}
	}
	return nil
}

func (l *library) Topics() ([]string, error) {
	found, err := l.admin.ListTopics()
	var names []string
	for name := range found {
		names = append(names, name)
	}
	return names, err
}

func (l *library) Leaders(topic string) (map[int32]int32, error) {
	found, err := l.admin.DescribeTopics([]string{topic})
	if err != nil {
		return nil, err
	}
	leaders := map[int32]int32{}
	for _, partition := range found[0].Partitions {
		leaders[partition.ID] = partition.Leader
	}
	return leaders, nil
}

func (l *library) Settings(topic string) (map[string]checks.Setting, error) {
	found, err := l.admin.DescribeConfig(sarama.ConfigResource{Type: sarama.TopicResource, Name: topic})
	settings := map[string]checks.Setting{}
	for _, entry := range found {
		settings[entry.Name] = checks.Setting{Value: entry.Value, Own: entry.Source == sarama.SourceTopic}
	}
	return settings, err
}

func (l *library) SetSetting(topic, name, value string) error {
	entry := sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}
	return l.admin.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{name: entry}, false)
}

func (l *library) CreatePartitions(topic string, total int) error {
	return l.admin.CreatePartitions(topic, int32(total), nil, false)
}

func (l *library) Produce(topic string, records []checks.Record, how checks.How) error {
	config := config()
	config.Producer.Return.Successes = true
	config.Producer.Partitioner = sarama.NewManualPartitioner
	config.Producer.Flush.Frequency = 20 * time.Millisecond
	config.Producer.RequiredAcks = sarama.RequiredAcks(how.Acks)
	codecs := map[string]sarama.CompressionCodec{"none": sarama.CompressionNone, "gzip": sarama.CompressionGZIP,
		"snappy": sarama.CompressionSnappy, "lz4": sarama.CompressionLZ4, "zstd": sarama.CompressionZSTD}
	config.Producer.Compression = codecs[how.Codec]
	if how.Idempotent {
		config.Producer.Idempotent = true
		config.Net.MaxOpenRequests = 1
	}
	producer, err := sarama.NewSyncProducer(l.address, config)
	if err != nil {
		return err
	}
	var wire []*sarama.ProducerMessage
	for _, r := range records {
		message := &sarama.ProducerMessage{Topic: topic, Partition: r.Partition, Key: sarama.ByteEncoder(r.Key),
			Value: sarama.ByteEncoder(r.Value), Timestamp: r.Time}
		for _, header := range r.Headers {
			message.Headers = append(message.Headers, sarama.RecordHeader{Key: []byte(header[0]), Value: []byte(header[1])})
		}
		wire = append(wire, message)
	}
	return errors.Join(producer.SendMessages(wire), producer.Close())
}

func (l *library) Consume(topic string, count int) ([]checks.Record, error) {
	consumer, err := sarama.NewConsumer(l.address, config())
	if err != nil {
		return nil, err
	}
	defer consumer.Close()
	all := make(chan *sarama.ConsumerMessage)
	done := make(chan struct{})
	defer close(done)
	for p := range int32(3) {
		partition, err := consumer.ConsumePartition(topic, p, sarama.OffsetOldest)
		if err != nil {
			return nil, err
		}
		defer partition.AsyncClose()
		go func() {
			for message := range partition.Messages() {
				select {
				case all <- message:
				case <-done:
					return
				}
			}
		}()
	}
	var found []checks.Record
	for late := time.After(20 * time.Second); len(found) < count; {
		select {
		case m := <-all:
			record := checks.Record{Partition: m.Partition, Offset: m.Offset, Key: m.Key, Value: m.Value, Time: m.Timestamp}
			for _, header := range m.Headers {
				record.Headers = append(record.Headers, [2]string{string(header.Key), string(header.Value)})
			}
			found = append(found, record)
		case <-late:
			return found, nil
		}
	}
	return found, nil
}

func (l *library) offset(topic string, partition int32, at int64) (int64, error) {
	if err := l.client.RefreshMetadata(topic); err != nil {
		return 0, err
	}
	return l.client.GetOffset(topic, partition, at)
}

func (l *library) FirstOffset(topic string, partition int32) (int64, error) {
	return l.offset(topic, partition, sarama.OffsetOldest)
}

func (l *library) EndOffset(topic string, partition int32) (int64, error) {
	return l.offset(topic, partition, sarama.OffsetNewest)
}

func (l *library) OffsetAt(topic string, partition int32, at time.Time) (int64, error) {
	return l.offset(topic, partition, at.UnixMilli())
}

func (l *library) DeleteRecords(topic string, partition int32, before int64) error {
	return l.admin.DeleteRecords(topic, map[int32]int64{partition: before})
}

// handler tells the tracker of one member what happens to it.
type handler struct{ tracker *checks.Tracker }

func claims(session sarama.ConsumerGroupSession) []int32 {
	for _, partitions := range session.Claims() {
		return partitions
	}
	return nil
}

func (h handler) Setup(session sarama.ConsumerGroupSession) error {
	h.tracker.Assigned(claims(session))
	return nil
}

func (h handler) Cleanup(session sarama.ConsumerGroupSession) error {
	h.tracker.Lost(claims(session))
	session.Commit()
	return nil
}

func (h handler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for {
		select {
		case message, ok := <-claim.Messages():
			if !ok {
				return nil
			}
			h.tracker.Saw(message.Value)
			session.MarkMessage(message, "")
		case <-session.Context().Done():
			return nil
		}
	}
}

func (l *library) Join(group, topic string, _ checks.Protocol, tracker *checks.Tracker) (func() error, error) {
	config := config()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Consumer.Group.Heartbeat.Interval = 500 * time.Millisecond
	config.Consumer.Group.Session.Timeout = 10 * time.Second
	consumer, err := sarama.NewConsumerGroup(l.address, group, config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			if err := consumer.Consume(ctx, []string{topic}, handler{tracker}); err != nil && ctx.Err() == nil {
				tracker.Failed(err)
				return
			}
		}
	}()
	return func() error {
		cancel()
		<-ended
		return consumer.Close()
	}, nil
}

func (l *library) Groups() ([]string, error) {
	found, err := l.admin.ListConsumerGroups()
	var names []string
	for name := range found {
		names = append(names, name)
	}
	return names, err
}

func (l *library) Describe(group string, _ checks.Protocol) (string, int, error) {
	found, err := l.admin.DescribeConsumerGroups([]string{group})
	if err != nil {
		return "", 0, err
	}
	return found[0].State, len(found[0].Members), nil
}

func (l *library) Committed(group, topic string) (map[int32]int64, error) {
	found, err := l.admin.ListConsumerGroupOffsets(group, nil)
	if err != nil {
		return nil, err
	}
	offsets := map[int32]int64{}
	for p, block := range found.Blocks[topic] {
		offsets[p] = block.Offset
	}
	return offsets, nil
}

func (l *library) DeleteGroup(group string) error { return l.admin.DeleteConsumerGroup(group) }

func (l *library) NotEmpty(err error) bool { return errors.Is(err, sarama.ErrNonEmptyGroup) }

func main() {
	l := &library{address: os.Args[1:2]}
	var err error
	if l.client, err = sarama.NewClient(l.address, config()); err != nil {
		panic(err)
	}
	if l.admin, err = sarama.NewClusterAdmin(l.address, config()); err != nil {
		panic(err)
	}
	checks.Run("sarama", l, checks.Classic)
}

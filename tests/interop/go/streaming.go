//go:build !ttrpc1.1

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/containerd/ttrpc"
	"github.com/containerd/ttrpc/integration/streaming"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/known/emptypb"
)

// nullText is the only text that EchoNull and EchoNullStream take.
const nullText = "non-empty empty"

// nullsPerMessage is how often EchoNullStream answers each message.
const nullsPerMessage = 10

// describe prints the file that the streaming service comes from, with what it imports.
func describe() error {
	// Its own name in Go is not the same in all versions.
	file := new(streaming.EchoPayload).ProtoReflect().Descriptor().ParentFile()
	var set descriptorpb.FileDescriptorSet
	for i := 0; i < file.Imports().Len(); i++ {
		set.File = append(set.File, protodesc.ToFileDescriptorProto(file.Imports().Get(i)))
	}
	set.File = append(set.File, protodesc.ToFileDescriptorProto(file))
	encoded, err := proto.Marshal(&set)
	if err != nil {
		return err
	}
	_, err = os.Stdout.Write(encoded)
	return err
}

func registerStreaming(server *ttrpc.Server) {
	streaming.RegisterTTRPCStreamingService(server, streamingService{})
}

// streamingService behaves as the one in containerd/ttrpc's integration tests does.
type streamingService struct{}

func (streamingService) Echo(
	_ context.Context, request *streaming.EchoPayload,
) (*streaming.EchoPayload, error) {
	request.Seq++
	return request, nil
}

func (streamingService) EchoStream(
	_ context.Context, stream streaming.TTRPCStreaming_EchoStreamServer,
) error {
	return each(stream.Recv, func(payload *streaming.EchoPayload) error {
		payload.Seq++
		return stream.Send(payload)
	})
}

func (streamingService) SumStream(
	_ context.Context, stream streaming.TTRPCStreaming_SumStreamServer,
) (*streaming.Sum, error) {
	total := new(streaming.Sum)
	err := each(stream.Recv, func(part *streaming.Part) error {
		total.Sum += part.Add
		total.Num++
		return nil
	})
	return total, err
}

// DivideStream sends as many parts as it is asked for. The first and the last are empty messages;
// the others add up to the sum.
func (streamingService) DivideStream(
	_ context.Context, whole *streaming.Sum, stream streaming.TTRPCStreaming_DivideStreamServer,
) error {
	left := whole.Sum
	for i := int32(0); i < whole.Num; i++ {
		part := new(streaming.Part)
		switch {
		case i == whole.Num-2:
			part.Add = left
		case i > 0 && i < whole.Num-2:
			part.Add = 1000 - 77*i
			left -= part.Add
		}
		if err := stream.Send(part); err != nil {
			return err
		}
	}
	return nil
}

func (streamingService) EchoNull(
	_ context.Context, stream streaming.TTRPCStreaming_EchoNullServer,
) (*emptypb.Empty, error) {
	var next uint32
	err := each(stream.Recv, func(payload *streaming.EchoPayload) error {
		return expectNull(payload, &next)
	})
	return new(emptypb.Empty), err
}

func (streamingService) EchoNullStream(
	_ context.Context, stream streaming.TTRPCStreaming_EchoNullStreamServer,
) error {
	var (
		next    uint32
		senders sync.WaitGroup
		mutex   sync.Mutex
		failed  error
	)
	err := each(stream.Recv, func(payload *streaming.EchoPayload) error {
		if err := expectNull(payload, &next); err != nil {
			return err
		}
		// All at once, as the original does: it is what shows races in a sender.
		for i := 0; i < nullsPerMessage; i++ {
			senders.Add(1)
			go func() {
				defer senders.Done()
				if err := stream.Send(new(emptypb.Empty)); err != nil {
					mutex.Lock()
					failed = err
					mutex.Unlock()
				}
			}()
		}
		return nil
	})
	senders.Wait()
	if err != nil {
		return err
	}
	return failed
}

func (streamingService) EmptyPayloadStream(
	_ context.Context, _ *emptypb.Empty, stream streaming.TTRPCStreaming_EmptyPayloadStreamServer,
) error {
	for seq := uint32(1); seq <= 2; seq++ {
		if err := stream.Send(&streaming.EchoPayload{Seq: seq}); err != nil {
			return err
		}
	}
	return nil
}

func expectNull(payload *streaming.EchoPayload, next *uint32) error {
	if payload.Seq != *next || payload.Msg != nullText {
		return fmt.Errorf("expected message %d, %q, got %d, %q", *next, nullText, payload.Seq, payload.Msg)
	}
	*next++
	return nil
}

// each receives until the end of a stream.
func each[Message any](receive func() (Message, error), do func(Message) error) error {
	for {
		received, err := receive()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err == nil {
			err = do(received)
		}
		if err != nil {
			return err
		}
	}
}

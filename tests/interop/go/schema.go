package main

import (
	"encoding/base64"
	"fmt"
	"os"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
)

const (
	testService    = "ttrpc.test.v1.TestService"
	greeterService = "greeter.v1.Greeter"
)

// schema makes the messages of our own services. They are known at run time only, so that no
// generated Go code has to be kept in step with the .proto files.
type schema struct {
	files *protoregistry.Files
}

func loadSchema() (*schema, error) {
	encoded, err := base64.StdEncoding.DecodeString(os.Getenv("TTRPC_TEST_PROTOS"))
	if err != nil {
		return nil, fmt.Errorf("TTRPC_TEST_PROTOS: %w", err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(encoded, &set); err != nil {
		return nil, fmt.Errorf("TTRPC_TEST_PROTOS: %w", err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		return nil, fmt.Errorf("TTRPC_TEST_PROTOS: %w", err)
	}
	return &schema{files}, nil
}

// message is a dynamic message whose fields are set and read by name. A wrong name is a mistake in
// this program, and panics.
type message struct {
	*dynamicpb.Message
}

// ttrpc 1.1 encodes with gogo/protobuf, which takes any message that encodes itself.

func (m message) Marshal() ([]byte, error)    { return proto.Marshal(m.Message) }
func (m message) Unmarshal(data []byte) error { return proto.Unmarshal(data, m.Message) }

func (s *schema) message(name protoreflect.FullName) message {
	descriptor, err := s.files.FindDescriptorByName(name)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", name, err))
	}
	return message{dynamicpb.NewMessage(descriptor.(protoreflect.MessageDescriptor))}
}

func (s *schema) test(name protoreflect.FullName) message {
	return s.message("ttrpc.test.v1." + name)
}

// nothing is a google.protobuf.Empty.
func (s *schema) nothing() message {
	return s.message("google.protobuf.Empty")
}

func (m message) field(name protoreflect.Name) protoreflect.FieldDescriptor {
	field := m.Descriptor().Fields().ByName(name)
	if field == nil {
		panic(fmt.Sprintf("%s has no field %s", m.Descriptor().FullName(), name))
	}
	return field
}

func (m message) get(name protoreflect.Name) protoreflect.Value {
	return m.Get(m.field(name))
}

func (m message) set(name protoreflect.Name, value any) message {
	m.Set(m.field(name), protoreflect.ValueOf(value))
	return m
}

func (m message) bytes(name protoreflect.Name) []byte { return m.get(name).Bytes() }
func (m message) text(name protoreflect.Name) string  { return m.get(name).String() }
func (m message) int(name protoreflect.Name) int64    { return m.get(name).Int() }
func (m message) uint(name protoreflect.Name) uint64  { return m.get(name).Uint() }

type pair struct{ key, value string }

// addPairs appends to a list of ttrpc.test.v1.Pair.
func (m message) addPairs(name protoreflect.Name, pairs []pair) message {
	list := m.Mutable(m.field(name)).List()
	for _, each := range pairs {
		element := list.AppendMutable().Message()
		fields := element.Descriptor().Fields()
		element.Set(fields.ByName("key"), protoreflect.ValueOfString(each.key))
		element.Set(fields.ByName("value"), protoreflect.ValueOfString(each.value))
	}
	return m
}

func (m message) pairs(name protoreflect.Name) []pair {
	list := m.get(name).List()
	var pairs []pair
	for i := 0; i < list.Len(); i++ {
		element := list.Get(i).Message()
		fields := element.Descriptor().Fields()
		pairs = append(pairs, pair{
			element.Get(fields.ByName("key")).String(),
			element.Get(fields.ByName("value")).String(),
		})
	}
	return pairs
}
